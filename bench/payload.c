/* SPDX-License-Identifier: Apache-2.0 */
/* What workers send: pattern in mbufs, a turn's worth at a time. The worker's lcore. */
#include "bench/worker.h"

#include <rte_mbuf.h>
#include <string.h>

#include "bench/pattern.h"
#include "dataplane/memory.h"

struct rte_mbuf *
qpb_payload(struct qpb_worker *w, const uint8_t *head, uint32_t head_len, uint64_t seed,
	uint64_t offset, uint32_t len, uint32_t segment)
{
	struct rte_mbuf *first = NULL, **next = &first, *m;
	uint32_t total = 0, segs = 0;

	do {
		uint32_t room, n;

		m = w->mem_level == QP_MEM_SCARCE ? NULL : rte_pktmbuf_alloc(w->pool);
		if (m == NULL) {
			QPB_COUNT(w, no_mbuf, 1);
			rte_pktmbuf_free(first);
			return NULL;
		}
		room = RTE_MIN(segment, rte_pktmbuf_tailroom(m));
		if (first == NULL && head != NULL)
			memcpy(rte_pktmbuf_mtod(m, void *), head, head_len);
		else
			head_len = 0;
		n = RTE_MIN(len, room - head_len);
		qpb_pattern_fill(seed, offset, rte_pktmbuf_mtod_offset(m, uint8_t *, head_len), n);
		m->data_len = (uint16_t)(head_len + n);
		m->pkt_len = m->data_len;
		total += m->data_len;
		segs++;
		offset += n;
		len -= n;
		*next = m;
		next = &m->next;
		first->pkt_len = total;
		first->nb_segs = (uint16_t)segs;
	} while (len > 0);
	return first;
}

bool
qpb_matches(const struct qpb_worker *w, uint64_t seed, uint64_t offset, const uint8_t *data,
	uint32_t len)
{
	return !w->b->cfg.verify || qpb_pattern_matches(seed, offset, data, len);
}

void
qpb_pump(struct qpb_worker *w, struct qpb_pump *p)
{
	if (p->queued)
		return;
	p->queued = true;
	TAILQ_INSERT_TAIL(&w->pumps, p, link);
}

void
qpb_pump_remove(struct qpb_worker *w, struct qpb_pump *p)
{
	if (p->queued)
		TAILQ_REMOVE(&w->pumps, p, link);
	p->queued = false;
}

/* One turn for each that is queued now; who has more comes again in the next turn. */
bool
qpb_pump_all(struct qpb_worker *w)
{
	struct qpb_pump *last = TAILQ_LAST(&w->pumps, qpb_pump_queue), *p;
	bool work = false;

	while (last != NULL && (p = TAILQ_FIRST(&w->pumps)) != NULL) {
		TAILQ_REMOVE(&w->pumps, p, link);
		p->queued = false;
		if (p->turn(p))
			qpb_pump(w, p);
		work = true;
		if (p == last)
			break;
	}
	return work;
}
