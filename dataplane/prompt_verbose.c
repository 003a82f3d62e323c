/* SPDX-License-Identifier: Apache-2.0 */
/* `set verbose`: frames as testpmd shows them. Main thread. */
#include <inttypes.h>
#include <stdio.h>

#include "dataplane/prompt_gateway_impl.h"
#include "dataplane/prompt_service.h"

/* Of a worker at once: the main thread has other things to do. */
#define ROWS_AT_ONCE 256u

uint32_t
qp_prompt_gw_verbose(void *ctx)
{
	const struct qp_prompt_gateway *g = ctx;

	return qp_order(&g->orders->verbose);
}

int
qp_prompt_gw_set_verbose(void *ctx, uint32_t level, struct qp_errmsg *msg)
{
	struct qp_prompt_gateway *g = ctx;

	if (level > (QP_VERBOSE_RX | QP_VERBOSE_TX))
		return qp_fail(msg, QP_E_INVAL,
			"set verbose %u: 0 is none, 1 received frames, 2 sent ones, 3 both", level);
	atomic_store(&g->orders->verbose, level);
	return 0;
}

/* A dedicated port has put its mark on what the worker got, and reads one from what it is given. */
static unsigned
port_of(const struct qp_prompt_gateway *g, unsigned worker, const struct qp_verbose_row *r)
{
	const uint8_t *mark = r->sent ? r->dst : r->src;
	const uint32_t ifindex = (uint32_t)mark[2] << 24 | (uint32_t)mark[3] << 16 | (uint32_t)mark[4] << 8 | mark[5];

	if (g->nic == NULL)
		return worker;
	return ifindex - QP_NIC_IFINDEX(0) < g->nic->nports ? ifindex - QP_NIC_IFINDEX(0) : 0;
}

static void
show_row(const struct qp_prompt_gateway *g, struct qp_prompt_service *to, unsigned worker,
	const struct qp_verbose_row *r)
{
	char text[QP_VERBOSE_TEXT];

	qp_verbose_text(r, port_of(g, worker, r), worker, text, sizeof(text));
	qp_prompt_service_say(to, text);
}

void
qp_prompt_gateway_show_verbose(struct qp_prompt_gateway *g, struct qp_prompt_service *to)
{
	struct qp_verbose_row row;
	char text[64];

	for (uint32_t i = 0; i < g->nworkers; i++) {
		struct qp_verbose *v = &g->verbose[i];
		uint64_t lost;

		for (unsigned n = 0; n < ROWS_AT_ONCE && qp_verbose_next(v, &row); n++)
			show_row(g, to, i, &row);
		lost = qp_verbose_lost(v);
		if (lost == 0)
			continue;
		snprintf(text, sizeof(text), "worker %u: %" PRIu64 " packets were not shown\n", i, lost);
		qp_prompt_service_say(to, text);
	}
}
