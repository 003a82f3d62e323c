/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from a data plane's death beyond the tables: its report, its clients. Loop thread. */
#define QP_LOG_MODULE QP_LOG_M_process
#include <limits.h>
#include <stdio.h>

#include "common/log.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/memory.h"

static int
quic_socket(void *ctx)
{
	const struct qp_gateway *g = ctx;

	return g->network.ops->quic_socket(g->network.net);
}

struct qp_goodbyes *
qp_gateway_goodbyes(struct qp_gateway *g)
{
	return qp_goodbyes_new(&(struct qp_goodbyes_config) {.loop = g->loop,
		.socket = quic_socket,
		.send = qp_nic_mode(&g->o->nic) ? qp_gateway_send_farewells : NULL,
		.zone = qp_memory_zone,
		.ctx = g});
}

void
qp_gateway_open_crash_reports(struct qp_gateway *g)
{
	char path[PATH_MAX];
	struct qp_errmsg msg;

	if (qp_crash_reports_open(&g->crash_reports, g->o->state_dir, g->instance.name, &msg) != 0) {
		qp_log(QP_LOG_WARN, "crash reports cannot be kept", QP_LOG_STR("reason", msg.text));
		g->crash_reports.dir[0] = '\0';
		return;
	}
	qp_crash_report_own_path(&g->crash_reports, path);
	qp_crash_handle(&(struct qp_crash_config) {.path = path});
	qp_crash_this_thread("main");
}

static const struct qp_last_words *
last_words(uint32_t server_id)
{
	char name[32];
	size_t len;
	const void *zone;

	snprintf(name, sizeof(name), QP_LAST_WORDS_NAME, server_id);
	zone = qp_memory_zone(name, &len);
	return len >= sizeof(struct qp_last_words) ? zone : NULL;
}

static void
write_report(struct qp_gateway *g, const struct qp_crash_report *report)
{
	char path[PATH_MAX];
	struct qp_errmsg msg;

	if (g->crash_reports.dir[0] == '\0')
		return;
	if (qp_crash_report_write(&g->crash_reports, report, path, &msg) == 0)
		qp_log(QP_LOG_ERROR, "a crash report is written",
			QP_LOG_HEX("dp_id", report->server_id), QP_LOG_STR("file", path));
	else
		qp_log(QP_LOG_WARN, "a crash report cannot be written",
			QP_LOG_STR("reason", msg.text));
}

void
qp_gateway_report_crash(struct qp_gateway *g, const struct qp_generation *gen)
{
	write_report(g, &(struct qp_crash_report) {.server_id = gen->server_id,
				.pid = gen->pid,
				.state = gen->link != NULL ? "serving" : "starting",
				.started_at = gen->started_at,
				.how = gen->how,
				.hung = gen->hung,
				.threads = gen->threads,
				.shared = gen->link != NULL ? qp_dp_link_shared(gen->link) : NULL,
				.view = gen->link != NULL ? qp_dp_link_view(gen->link) : NULL,
				.words = last_words(gen->server_id),
				.now_ns = qp_now_ns()});
}

void
qp_gateway_remains(void *ctx, uint32_t server_id, bool unseen)
{
	struct qp_gateway *g = ctx;
	size_t len = 0;
	const void *block;

	if (unseen)
		write_report(g, &(struct qp_crash_report) {.server_id = server_id,
					.how = "died while no control plane was there",
					.words = last_words(server_id)});
	if (g->stopping)
		return;
	block = qp_memory_find(server_id, &len);
	if (qp_kept_retire_block(&g->kept, server_id, block, len))
		qp_gateway_keep_counters(g);
	qp_goodbyes_collect(g->goodbyes, server_id);
	if (qp_supervisor_serving(g->supervisor))
		qp_goodbyes_send(g->goodbyes);
}
