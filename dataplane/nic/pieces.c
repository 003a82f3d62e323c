/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams in pieces: which worker has the first one. */
#include "dataplane/nic/pieces.h"

#include <stdlib.h>

#include "common/error.h"
#include "dataplane/lines.h"
#include "dataplane/nic/mix.h"

#define REMEMBERED_MS 60000u /* RFC 8200, 4.5: whoever puts it together waits as long */

int
qp_pieces_init(struct qp_pieces *p, uint32_t seed)
{
	p->seed = seed;
	p->entries = qp_lines_alloc(QP_PIECES_ENTRIES * sizeof(*p->entries));
	return p->entries != NULL ? 0 : QP_E_NOMEM;
}

void
qp_pieces_fini(struct qp_pieces *p)
{
	free(p->entries);
	p->entries = NULL;
}

uint32_t
qp_pieces_hash(const struct qp_steer_flow *f)
{
	return qp_mix(qp_mix_addr(qp_mix_addr(0, &f->remote), &f->local), f->id);
}

static struct qp_piece *
entry(const struct qp_pieces *p, const struct qp_steer_flow *f)
{
	return &p->entries[qp_mix(p->seed, qp_pieces_hash(f)) % QP_PIECES_ENTRIES];
}

void
qp_pieces_remember(struct qp_pieces *p, const struct qp_steer_flow *f, uint32_t server_id,
	uint32_t worker, uint64_t now_ns)
{
	*entry(p, f) = (struct qp_piece) {
		.local = f->local,
		.remote = f->remote,
		.id = f->id,
		.until_ms = (uint32_t)(now_ns / 1000000u) + REMEMBERED_MS,
		.server_id = server_id,
		.worker = worker,
	};
}

const struct qp_piece *
qp_pieces_find(const struct qp_pieces *p, const struct qp_steer_flow *f, uint64_t now_ns)
{
	const struct qp_piece *e = entry(p, f);
	const uint32_t now_ms = (uint32_t)(now_ns / 1000000u);

	if (e->server_id == 0 || e->id != f->id || !qp_ipaddr_equal(&e->local, &f->local) ||
		!qp_ipaddr_equal(&e->remote, &f->remote) || (int32_t)(e->until_ms - now_ms) < 0)
		return NULL;
	return e;
}
