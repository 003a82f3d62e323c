/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classifier's tables of conversations and second attempts, for one worker.
 * Entries are overwritten, never searched for: a flood costs no more than its packets.
 */
#include "dataplane/nic/strangers.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/lines.h"
#include "dataplane/nic/mix.h"

#define KNOWN_ENTRIES (1u << 17) /* 512 KiB a worker */
#define SEEN_ENTRIES  (1u << 17) /* 1 MiB */
/* The clock ticks each 2^27 ns. Clients come again after 0.5 to 32 s (RFC 6298, 2.1). */
#define TICK_SHIFT    27
#define AGAIN_FIRST   4
#define AGAIN_LAST    240
#define AGAIN_MOST    32 /* who says more in that time is no client */
#define TCP_SEQ_AT    4u
#define TCP_FLAGS_AT  13u
#define TCP_SYN       0x02
#define TCP_RST       0x04
#define TCP_ACK       0x10

/* Who was last seen of those whose hash leads here. */
struct seen {
	uint32_t mark;
	uint16_t tick; /* when it came first */
	uint16_t n;    /* how often since */
};

struct qp_strangers {
	uint32_t seed;
	uint32_t known[KNOWN_ENTRIES]; /* the mark of who was spoken to last; 0: nobody */
	struct seen seen[SEEN_ENTRIES];
};

struct qp_strangers *
qp_strangers_new(uint32_t seed)
{
	struct qp_strangers *s = qp_lines_alloc(sizeof(*s));

	if (s != NULL)
		s->seed = seed;
	return s;
}

void
qp_strangers_free(struct qp_strangers *s)
{
	free(s);
}

static uint32_t
hash(const struct qp_strangers *s, const struct qp_steer_flow *f)
{
	return qp_mix(qp_mix_remote(s->seed, f), f->lport_be);
}

void
qp_strangers_learn(struct qp_strangers *s, const struct qp_steer_flow *f, uint8_t flags)
{
	const uint32_t h = hash(s, f), mark = qp_mix(h, s->seed);
	uint32_t *at = &s->known[h % KNOWN_ENTRIES];

	if (f->proto == IPPROTO_TCP && (flags & TCP_RST) == 0 && *at != mark)
		*at = mark;
}

bool
qp_strangers_is_known(const struct qp_strangers *s, const struct qp_steer_flow *f)
{
	const uint32_t h = hash(s, f);

	return s->known[h % KNOWN_ENTRIES] == qp_mix(h, s->seed);
}

static bool
is_again(struct qp_strangers *s, const struct qp_steer_flow *f, uint32_t attempt, uint64_t now_ns)
{
	const uint16_t now = (uint16_t)(now_ns >> TICK_SHIFT);
	const uint32_t h = qp_mix(hash(s, f), attempt), mark = qp_mix(h, s->seed);
	struct seen *seen = &s->seen[h % SEEN_ENTRIES];
	const uint16_t age = (uint16_t)(now - seen->tick);

	if (seen->mark != mark || age > AGAIN_LAST) {
		*seen = (struct seen) {.mark = mark, .tick = now};
		return false;
	}
	if (seen->n < AGAIN_MOST)
		seen->n++;
	return age >= AGAIN_FIRST && seen->n < AGAIN_MOST;
}

enum qp_cls_queue
qp_strangers_queue(struct qp_strangers *s, const struct qp_steer_flow *f, bool new_quic,
	const uint8_t *frame, uint32_t len, uint64_t now_ns)
{
	uint32_t seq;
	uint8_t flags;

	if (f->quoted)
		return QP_CLS_QUEUE_UNKNOWN;
	if (new_quic)
		return is_again(s, f, 0, now_ns) ? QP_CLS_QUEUE_AGAIN : QP_CLS_QUEUE_UNKNOWN;
	if (f->proto != IPPROTO_TCP)
		return f->proto == IPPROTO_UDP ? QP_CLS_QUEUE_FLOWS : QP_CLS_QUEUE_UNKNOWN;
	if (!f->first || f->l4_off + TCP_FLAGS_AT >= len)
		return QP_CLS_QUEUE_UNKNOWN;
	flags = frame[f->l4_off + TCP_FLAGS_AT];
	if ((flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return qp_strangers_is_known(s, f) ? QP_CLS_QUEUE_FLOWS : QP_CLS_QUEUE_UNKNOWN;
	memcpy(&seq, frame + f->l4_off + TCP_SEQ_AT, sizeof(seq));
	return is_again(s, f, seq, now_ns) ? QP_CLS_QUEUE_AGAIN : QP_CLS_QUEUE_SYN;
}
