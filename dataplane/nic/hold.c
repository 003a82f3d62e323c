/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking receive queues and letting go of them, between generations that run side
 * by side. `at` has the wanted ones: the first `n` are held, the others are not yet.
 */
#include "dataplane/nic/hold.h"

void
qp_hold_init(struct qp_hold *h, struct qp_nic *nic, uint32_t server_id, uint32_t worker,
	uint32_t nworkers)
{
	*h = (struct qp_hold) {.nic = nic, .server_id = server_id};
	for (uint32_t p = 0; p < nic->nports && p < QP_NIC_MAX_PORTS; p++) {
		for (uint32_t q = worker; q < nic->port[p].nrx && q < QP_NIC_MAX_QUEUES; q += nworkers) {
			h->at[h->wanted].port = (uint8_t)p;
			h->at[h->wanted++].queue = (uint8_t)q;
		}
	}
}

static uint32_t *
polled_by(struct qp_hold *h, unsigned i)
{
	return &h->nic->queue[h->at[i].port][h->at[i].queue].polled_by;
}

static void
swap(struct qp_hold *h, unsigned a, unsigned b)
{
	__typeof__(h->at[0]) was = h->at[a];

	h->at[a] = h->at[b];
	h->at[b] = was;
}

/* Those that nobody holds any more. */
static bool
take(struct qp_hold *h)
{
	const uint16_t had = h->n;

	for (unsigned i = h->n; i < h->wanted; i++) {
		uint32_t nobody = 0;

		/* Acquire: pairs with the release of who let go, whose last polls are done. */
		if (__atomic_load_n(polled_by(h, i), __ATOMIC_RELAXED) == 0 &&
			__atomic_compare_exchange_n(polled_by(h, i), &nobody, h->server_id, false,
				__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			swap(h, i, h->n++);
	}
	return h->n > had;
}

void
qp_hold_release(struct qp_hold *h)
{
	while (h->n > 0)
		__atomic_store_n(polled_by(h, --h->n), 0, __ATOMIC_RELEASE);
}

bool
qp_hold_turn(struct qp_hold *h)
{
	if (__atomic_load_n(&h->nic->holder, __ATOMIC_RELAXED) == h->server_id)
		return h->n < h->wanted && take(h);
	qp_hold_release(h);
	return false;
}
