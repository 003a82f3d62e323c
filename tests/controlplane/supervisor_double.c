/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/controlplane/supervisor_double.h"

struct supervisor_double supervisor_double = {
	.generations = TAILQ_HEAD_INITIALIZER(supervisor_double.generations),
	.gen = {.server_id = 0x3039, .pid = 77, .state = QP_DP_ACTIVE, .started_at = 1700000000},
};

void
supervisor_double_begin(void)
{
	TAILQ_INSERT_TAIL(&supervisor_double.generations, &supervisor_double.gen, next);
}

void
supervisor_double_metrics(void *ctx, struct qp_metrics *out)
{
	static const struct qp_authd_counters auth;
	static const struct qp_totals none;

	*out = (struct qp_metrics) {
		.auth = &auth, .retired = &none, .generations = &supervisor_double.generations};
}

const struct qp_generations *
qp_supervisor_generations(const struct qp_supervisor *s)
{
	return &supervisor_double.generations;
}

const struct qp_generation *
qp_supervisor_find(const struct qp_supervisor *s, uint32_t server_id)
{
	return server_id == supervisor_double.gen.server_id ? &supervisor_double.gen : NULL;
}

int
qp_supervisor_drain(struct qp_supervisor *s, uint32_t server_id, struct qp_errmsg *msg)
{
	(void)s;
	(void)server_id;
	return qp_fail(msg, QP_E_INUSE, "the data plane is draining already");
}

int
qp_supervisor_end(struct qp_supervisor *s, uint32_t server_id)
{
	supervisor_double.told_to_end = server_id;
	return 0;
}

const char *
qp_generation_state_name(enum qp_dp_state state)
{
	return state == QP_DP_ACTIVE ? "ACTIVE" : "OTHER";
}

unsigned
qp_dp_link_waiting(const struct qp_dp_link *l, unsigned worker, bool to_us)
{
	(void)l;
	(void)worker;
	(void)to_us;
	return 0;
}

const struct qp_shared_view *
qp_dp_link_view(const struct qp_dp_link *l)
{
	return NULL;
}
