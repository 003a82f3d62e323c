/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of all data planes as Prometheus text. Reads shared memory with
 * relaxed loads while the workers write. Loop thread.
 */
#include "controlplane/metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/counters.h"
#include "common/log.h"
#include "controlplane/metrics_impl.h"
#include "controlplane/usage.h"

/* A field: where its values are, what it is called, and whether it can fall. */
struct field {
	const char *prefix; /* "", "tcp_", "udp_", "net_" or "nic_" */
	const char *name;
	const char *help;
	size_t offset; /* in struct qp_worker_shared; struct qp_totals has the same order */
};

#define WORKER_FIELD(f, h) {"", #f, h, offsetof(struct qp_worker_shared, c.f)},

static const struct field worker_fields[] = {QP_WORKER_COUNTERS(WORKER_FIELD)};

struct tcp_layout {
#define X(f, h) uint64_t f;
	QP_TCP_COUNTERS(X)
#undef X
};

#define TCP_FIELD(f, h)                                                                            \
	{"tcp_", #f, h, offsetof(struct qp_worker_shared, tcp) + offsetof(struct tcp_layout, f)},

static const struct field tcp_fields[] = {QP_TCP_COUNTERS(TCP_FIELD)};

struct udp_layout {
#define X(f, h) uint64_t f;
	QP_UDP_COUNTERS(X)
#undef X
};

#define UDP_FIELD(f, h)                                                                            \
	{"udp_", #f, h, offsetof(struct qp_worker_shared, udp) + offsetof(struct udp_layout, f)},

static const struct field udp_fields[] = {QP_UDP_COUNTERS(UDP_FIELD)};

struct net_layout {
#define X(f, h) uint64_t f;
	QP_NET_COUNTERS(X)
#undef X
};

#define NET_FIELD(f, h)                                                                            \
	{"net_", #f, h, offsetof(struct qp_worker_shared, net) + offsetof(struct net_layout, f)},

static const struct field net_fields[] = {QP_NET_COUNTERS(NET_FIELD)};

struct nic_layout {
#define X(f, h) uint64_t f;
	QP_NIC_COUNTERS(X)
#undef X
};

#define NIC_FIELD(f, h)                                                                            \
	{"nic_", #f, h, offsetof(struct qp_worker_shared, nic) + offsetof(struct nic_layout, f)},

static const struct field nic_fields[] = {QP_NIC_COUNTERS(NIC_FIELD)};

#define NAMED(name, text) {#name, text},

static const struct {
	const char *name; /* QP_IP_SHORT, … */
	const char *text;
} drop_reasons[] = {QP_IP_DROPS(NAMED)};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define IP_DROP(i) (offsetof(struct qp_worker_shared, ip_drops) + (i) * sizeof(uint64_t))

_Static_assert(COUNT(tcp_fields) <= QP_SHARED_TCP_COUNTERS, "the shared block has room");
_Static_assert(COUNT(udp_fields) <= QP_SHARED_UDP_COUNTERS, "the shared block has room");
_Static_assert(COUNT(net_fields) <= QP_SHARED_NET_COUNTERS, "the shared block has room");
_Static_assert(COUNT(nic_fields) <= QP_SHARED_NIC_COUNTERS, "the shared block has room");
_Static_assert(COUNT(drop_reasons) <= QP_SHARED_IP_DROPS, "the shared block has room");
_Static_assert(
	offsetof(struct qp_totals, c) == offsetof(struct qp_worker_shared, c) &&
		offsetof(struct qp_totals, tcp) == offsetof(struct qp_worker_shared, tcp) &&
		offsetof(struct qp_totals, udp) == offsetof(struct qp_worker_shared, udp) &&
		offsetof(struct qp_totals, ip_drops) == offsetof(struct qp_worker_shared, ip_drops) &&
		offsetof(struct qp_totals, net) == offsetof(struct qp_worker_shared, net) &&
		offsetof(struct qp_totals, nic) == offsetof(struct qp_worker_shared, nic) &&
		offsetof(struct qp_totals, quic_rtt) == offsetof(struct qp_worker_shared, quic_rtt),
	"a field's offset holds in both");

/* Those of the counters; the rest of struct qp_totals is not counted. */
#define TOTALS_WORDS (offsetof(struct qp_totals, added) / sizeof(uint64_t))

_Static_assert(TOTALS_WORDS <= QP_WORKER_WORDS, "each word has a place in the view");

static bool
is_gauge(const struct field *f)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", f->prefix, f->name);
	return qp_counter_is_gauge(name);
}

/* Of the whole process, told by one worker: metrics_memory.c has it. */
static bool
is_of_process(const struct field *f)
{
	return f->prefix[0] == '\0' && strncmp(f->name, "heap_", 5) == 0;
}

/* Prometheus: a counter's name ends in _total, a gauge's does not. */
static void
metric_name(const struct field *f, char out[96])
{
	size_t len = strlen(f->name);
	bool total = len > 6 && strcmp(f->name + len - 6, "_total") == 0;

	if (is_gauge(f) && total)
		snprintf(out, 96, "%s%.*s_capacity", f->prefix, (int)(len - 6), f->name);
	else
		snprintf(out, 96, "%s%s%s", f->prefix, f->name,
			is_gauge(f) || total ? "" : "_total");
}

static uint64_t
value_at(const void *base, size_t offset)
{
	return *(const uint64_t *)(const void *)((const char *)base + offset);
}

bool
qp_metrics_readable(const struct qp_generation *g)
{
	return g->link != NULL && qp_dp_link_view(g->link)->nnames > 0;
}

bool
qp_totals_has(const struct qp_totals *t, size_t offset)
{
	return !t->added || t->has[offset / sizeof(uint64_t)] != 0;
}

void
qp_totals_add_view(struct qp_totals *t, const struct qp_shared_view *v)
{
	uint64_t *sum = (uint64_t *)(void *)t;

	if (v->nnames == 0)
		return;
	t->added = true;
	for (size_t i = 0; i < TOTALS_WORDS; i++) {
		t->has[i] |= qp_shared_has(v, i * sizeof(uint64_t));
		for (unsigned w = 0; w < v->nworkers; w++)
			sum[i] += qp_shared_count(v, w, i * sizeof(uint64_t));
	}
}

void
qp_totals_add_generation(struct qp_totals *t, const struct qp_generation *g)
{
	if (g->link != NULL)
		qp_totals_add_view(t, qp_dp_link_view(g->link));
}

static void
drop_gauges(struct qp_totals *t, const struct field *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_gauge(&f[i]))
			memset((char *)t + f[i].offset, 0, sizeof(uint64_t));
	}
}

void
qp_totals_drop_gauges(struct qp_totals *t)
{
	drop_gauges(t, worker_fields, COUNT(worker_fields));
	drop_gauges(t, tcp_fields, COUNT(tcp_fields));
	drop_gauges(t, udp_fields, COUNT(udp_fields));
	drop_gauges(t, net_fields, COUNT(net_fields));
	drop_gauges(t, nic_fields, COUNT(nic_fields));
}

void
qp_metrics_head(FILE *out, const char *name, const char *help, const char *type)
{
	fprintf(out, "# HELP quicport_%s %s\n# TYPE quicport_%s %s\n", name, help, name, type);
}

static void
one(FILE *out, const char *name, const char *help, const char *type, uint64_t value)
{
	qp_metrics_head(out, name, help, type);
	fprintf(out, "quicport_%s %" PRIu64 "\n", name, value);
}

static void
write_refusals(FILE *out, const struct qp_authd_counters *c)
{
	qp_metrics_head(out, "auth_refused_total", "clients that were refused, by reason", "counter");
	for (unsigned i = 0; i < QP_REFUSED_NREASONS; i++)
		fprintf(out, "quicport_auth_refused_total{reason=\"%s\"} %" PRIu64 "\n",
			qp_authd_reason_name(i), c->refused[i]);
}

static void
write_sums(FILE *out, const struct qp_totals *t, const struct field *f, size_t n)
{
	char name[96];

	for (size_t i = 0; i < n; i++) {
		if (is_of_process(&f[i]) || !qp_totals_has(t, f[i].offset))
			continue;
		metric_name(&f[i], name);
		one(out, name, f[i].help, is_gauge(&f[i]) ? "gauge" : "counter",
			value_at(t, f[i].offset));
	}
}

static void
write_by_worker(FILE *out, const struct qp_metrics *m, const struct field *f, size_t n)
{
	const struct qp_generation *g;
	char name[96], worker_name[112];

	for (size_t i = 0; i < n; i++) {
		if (is_of_process(&f[i]))
			continue;
		metric_name(&f[i], name);
		snprintf(worker_name, sizeof(worker_name), "worker_%s", name);
		qp_metrics_head(out, worker_name, f[i].help, is_gauge(&f[i]) ? "gauge" : "counter");
		QP_METRICS_EACH_WORKER(m, g, w)
		{
			const struct qp_shared_view *v = qp_dp_link_view(g->link);

			if (qp_shared_has(v, f[i].offset))
				fprintf(out,
					"quicport_%s{dp_id=\"0x%04x\",worker=\"%u\"} %" PRIu64 "\n",
					worker_name, g->server_id, w,
					qp_shared_count(v, w, f[i].offset));
		}
	}
}

/* In host mode the kernel does all of it, and nothing is counted. */
static bool
is_nic_mode(const struct qp_totals *t)
{
	for (size_t i = 0; i < COUNT(net_fields); i++) {
		if (value_at(t, net_fields[i].offset) != 0)
			return true;
	}
	return false;
}

/* QP_IP_BAD_HEADER becomes bad_header. */
static void
reason_label(const char *name, char out[48])
{
	size_t i;

	name += strlen("QP_IP_");
	for (i = 0; name[i] != '\0' && i < 47; i++)
		out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
	out[i] = '\0';
}

static void
add_drops(json_t *out, const struct qp_totals *t, const struct field *f, size_t n)
{
	char name[96];

	for (size_t i = 0; i < n; i++) {
		uint64_t value = value_at(t, f[i].offset);

		/* drop_ip is the sum of the IP layer's reasons. */
		if (value == 0 || strcmp(f[i].name, "drop_ip") == 0 ||
			(strncmp(f[i].name, "drop_", 5) != 0 &&
				strcmp(f[i].name, "tx_dropped") != 0))
			continue;
		snprintf(name, sizeof(name), "%s%s", f[i].prefix, f[i].name);
		json_object_set_new(out, name, json_integer((json_int_t)value));
	}
}

json_t *
qp_totals_drops(const struct qp_totals *t)
{
	json_t *out = json_object();
	char name[64] = "ip_";

	add_drops(out, t, worker_fields, COUNT(worker_fields));
	add_drops(out, t, tcp_fields, COUNT(tcp_fields));
	add_drops(out, t, udp_fields, COUNT(udp_fields));
	add_drops(out, t, net_fields, COUNT(net_fields));
	add_drops(out, t, nic_fields, COUNT(nic_fields));
	for (size_t i = 0; i < COUNT(drop_reasons); i++) {
		if (t->ip_drops[i] == 0)
			continue;
		reason_label(drop_reasons[i].name, name + 3);
		json_object_set_new(out, name, json_integer((json_int_t)t->ip_drops[i]));
	}
	return out;
}

static void
write_drops(FILE *out, const struct qp_metrics *m, const struct qp_totals *t)
{
	const struct qp_generation *g;
	char reason[48];

	qp_metrics_head(out, "ip_drops_total", "frames dropped by the IP layer, by reason", "counter");
	for (size_t i = 0; i < COUNT(drop_reasons); i++) {
		if (!qp_totals_has(t, IP_DROP(i)))
			continue;
		reason_label(drop_reasons[i].name, reason);
		fprintf(out, "quicport_ip_drops_total{reason=\"%s\"} %" PRIu64 "\n", reason,
			t->ip_drops[i]);
	}
	qp_metrics_head(out, "worker_ip_drops_total", "frames dropped by the IP layer, by reason", "counter");
	QP_METRICS_EACH_WORKER(m, g, w)
	{
		const struct qp_shared_view *v = qp_dp_link_view(g->link);

		for (size_t i = 0; i < COUNT(drop_reasons); i++) {
			if (!qp_shared_has(v, IP_DROP(i)))
				continue;
			reason_label(drop_reasons[i].name, reason);
			fprintf(out,
				"quicport_worker_ip_drops_total{dp_id=\"0x%04x\",worker=\"%u\","
				"reason=\"%s\"} %" PRIu64 "\n",
				g->server_id, w, reason, qp_shared_count(v, w, IP_DROP(i)));
		}
	}
}

/* What was lost, in one metric: "drop_no_memory" of the TCP list is {layer="tcp",reason="no_memory"}. */
static void
write_named(FILE *out, const struct qp_totals *t, const char *metric, const char *label,
	const char *prefix, const struct field *f, size_t n)
{
	size_t skip = strlen(prefix);

	for (size_t i = 0; i < n; i++) {
		if (strncmp(f[i].name, prefix, skip) == 0 &&
			strcmp(f[i].name, "drop_ip") != 0 && qp_totals_has(t, f[i].offset))
			fprintf(out, "quicport_%s{%s=\"%s\"} %" PRIu64 "\n", metric, label,
				f[i].name + skip, value_at(t, f[i].offset));
	}
}

static void
write_drops_by_layer(FILE *out, const struct qp_totals *t)
{
	static const char name[] = "drops_total";
	char reason[48];

	qp_metrics_head(out, name, "frames, segments and datagrams dropped, by layer and reason",
		"counter");
	fprintf(out, "quicport_%s{layer=\"port\",reason=\"transmit_full\"} %" PRIu64 "\n", name,
		t->c.tx_dropped);
	fprintf(out, "quicport_%s{layer=\"port\",reason=\"no_mbuf\"} %" PRIu64 "\n", name,
		t->c.rx_nombuf);
	for (size_t i = 0; i < COUNT(drop_reasons); i++) {
		if (!qp_totals_has(t, IP_DROP(i)))
			continue;
		reason_label(drop_reasons[i].name, reason);
		fprintf(out, "quicport_%s{layer=\"ip\",reason=\"%s\"} %" PRIu64 "\n", name, reason,
			t->ip_drops[i]);
	}
	write_named(out, t, name, "layer=\"quic\",reason", "drop_", worker_fields,
		COUNT(worker_fields));
	write_named(out, t, name, "layer=\"tcp\",reason", "drop_", tcp_fields, COUNT(tcp_fields));
	write_named(out, t, name, "layer=\"udp\",reason", "drop_", udp_fields, COUNT(udp_fields));
	if (!is_nic_mode(t))
		return;
	write_named(out, t, name, "layer=\"net\",reason", "drop_", net_fields, COUNT(net_fields));
	write_named(out, t, name, "layer=\"nic\",reason", "drop_", nic_fields, COUNT(nic_fields));
}

/* rst_out is their sum, and rst_in, rst_blind and rst_limited are none that we sent. */
static void
write_resets(FILE *out, const struct qp_totals *t)
{
#define CAUSE(name) {#name, offsetof(struct tcp_layout, rst_##name)}
	static const struct {
		const char *name;
		size_t offset;
	} causes[] = {CAUSE(stray), CAUSE(refused), CAUSE(aborted), CAUSE(timeout),
		CAUSE(no_memory), CAUSE(closed)};
#undef CAUSE

	qp_metrics_head(out, "tcp_resets_sent_total", "TCP resets sent, by cause", "counter");
	for (size_t i = 0; i < COUNT(causes); i++)
		fprintf(out, "quicport_tcp_resets_sent_total{cause=\"%s\"} %" PRIu64 "\n",
			causes[i].name, value_at(t->tcp, causes[i].offset));
}

static void
write_classifier(FILE *out, const uint64_t *counters)
{
	static const struct {
		const char *name;
		const char *text;
	} verdicts[] = {QP_CLS_COUNTERS(NAMED)};

	qp_metrics_head(out, "classifier_packets_total", "packets seen by the classifier, by verdict",
		"counter");
	for (size_t i = 0; i < COUNT(verdicts); i++)
		fprintf(out, "quicport_classifier_packets_total{verdict=\"%s\"} %" PRIu64 "\n",
			verdicts[i].name, counters[i]);
}

static void
write_data_planes(FILE *out, const struct qp_metrics *m)
{
	const struct qp_generation *g;

	qp_metrics_head(out, "data_plane_info", "data planes now, with their state", "gauge");
	TAILQ_FOREACH (g, m->generations, next)
		fprintf(out, "quicport_data_plane_info{dp_id=\"0x%04x\",state=\"%s\"} 1\n",
			g->server_id, qp_generation_state_name(g->state));
	one(out, "port_owner_up", "whether the port owner lives: 0 means that no data plane can start",
		"gauge", m->owner_up);
	one(out, "port_owner_answers", "whether it answers; 0: it hangs, or is dead", "gauge",
		m->owner_answers);
	one(out, "data_plane_starts_total", "data planes that attached", "counter",
		m->data_plane_starts);
	one(out, "data_plane_deaths_total", "data planes that ended without being told to",
		"counter", m->data_plane_deaths);
	one(out, "data_plane_hangs_total", "of them, killed for giving no sign of life", "counter",
		m->data_plane_hangs);
	one(out, "data_plane_deaths_in_a_row",
		"data planes that ended soon after their start, one after the other", "gauge",
		m->deaths_in_a_row);
	qp_metrics_head(out, "data_plane_backoff_seconds", "until the next one is started", "gauge");
	fprintf(out, "quicport_data_plane_backoff_seconds %u.%03u\n", m->restart_wait_ms / 1000,
		m->restart_wait_ms % 1000);
	one(out, "data_plane_farewells_total",
		"clients that were told of their data plane's death by a stateless reset",
		"counter", m->farewells);
	one(out, "data_plane_failed_starts_total", "data planes that ended before they served",
		"counter", m->data_plane_failed_starts);
	qp_metrics_head(out, "handovers_total",
		"changes from one data plane to the next, by what came of it", "counter");
	fprintf(out,
		"quicport_handovers_total{result=\"done\"} %llu\n"
		"quicport_handovers_total{result=\"failed\"} %llu\n"
		"quicport_handovers_total{result=\"refused\"} %llu\n",
		(unsigned long long)m->handovers_done, (unsigned long long)m->handovers_failed,
		(unsigned long long)m->handovers_refused);
	one(out, "control_messages_dropped_total", "answers to a data plane that took none",
		"counter", m->messages_dropped);
	one(out, "control_messages_ignored_total",
		"messages of data planes that only another release has", "counter",
		m->messages_ignored);
}

static void
write_keeping(FILE *out, const struct qp_metrics *m)
{
	one(out, "log_lines_lost_total",
		"lines of the control plane's log that their file did not take", "counter",
		qp_log_lines_lost());
	if (m->audit != NULL) {
		one(out, "audit_rows_total", "rows of the audit log", "counter", m->audit->rows);
		one(out, "audit_rows_lost_total", "rows that could not be written", "counter",
			m->audit->failed);
		one(out, "audit_syncs_failed_total",
			"times that rows could not be brought to the disk", "counter",
			m->audit->syncs_failed);
	}
	if (m->state == NULL)
		return;
	one(out, "state_on_disk", "1: changes of the state reach the disk", "gauge",
		m->state->on_disk);
	one(out, "state_changes_total", "changes of the state", "counter", m->state->changes);
	one(out, "state_commits_total", "transactions that brought them to the disk", "counter",
		m->state->commits);
	one(out, "state_failures_total", "transactions that the disk did not take", "counter",
		m->state->failures);
}

static void
write_contract(FILE *out, const struct qp_metrics *m, const struct qp_totals *t)
{
	one(out, "uptime_seconds", "since the control plane started", "gauge", m->uptime_s);
	one(out, "bytes_sent_total", "payload bytes sent into tunnels", "counter",
		t->c.relay_bytes_in);
	one(out, "bytes_received_total", "payload bytes received from tunnels", "counter",
		t->c.relay_bytes_out);
	one(out, "auth_psk_success_total", "clients that proved the pre-shared key", "counter",
		m->auth->psk_success);
	one(out, "auth_psk_failed_total", "clients that did not", "counter", m->auth->psk_failed);
	one(out, "auth_x25519_success_total", "clients that proved their X25519 key", "counter",
		m->auth->x25519_success);
	one(out, "auth_x25519_failed_total", "clients that did not, or may not come", "counter",
		m->auth->x25519_failed);
	write_refusals(out, m->auth);
	one(out, "auth_waiting", "clients that have not answered their challenge yet", "gauge",
		m->tunnels_waiting);
	one(out, "ports_open", "forwarded ports now", "gauge", m->ports_open);
	one(out, "port_leases", "ports that a client gets back when it asks for any", "gauge",
		m->leases);
	write_keeping(out, m);
}

char *
qp_metrics_text(const struct qp_metrics *m, size_t *len)
{
	struct qp_totals sum = *m->retired;
	const struct qp_generation *g;
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (out == NULL)
		return NULL;
	TAILQ_FOREACH (g, m->generations, next)
		qp_totals_add_generation(&sum, g);
	write_contract(out, m, &sum);
	write_data_planes(out, m);
	write_sums(out, &sum, worker_fields, COUNT(worker_fields));
	write_sums(out, &sum, tcp_fields, COUNT(tcp_fields));
	write_sums(out, &sum, udp_fields, COUNT(udp_fields));
	if (is_nic_mode(&sum)) {
		write_sums(out, &sum, net_fields, COUNT(net_fields));
		write_sums(out, &sum, nic_fields, COUNT(nic_fields));
	}
	write_drops(out, m, &sum);
	write_drops_by_layer(out, &sum);
	write_resets(out, &sum);
	qp_metrics_rtts(out, m, &sum);
	qp_metrics_rings(out, m);
	qp_metrics_memory(out, m);
	qp_metrics_nics(out, m->nic);
	if (m->usage != NULL)
		qp_usage_metrics(m->usage, out);
	if (m->classifier != NULL)
		write_classifier(out, m->classifier);
	write_by_worker(out, m, worker_fields, COUNT(worker_fields));
	write_by_worker(out, m, tcp_fields, COUNT(tcp_fields));
	write_by_worker(out, m, udp_fields, COUNT(udp_fields));
	if (is_nic_mode(&sum)) {
		write_by_worker(out, m, net_fields, COUNT(net_fields));
		write_by_worker(out, m, nic_fields, COUNT(nic_fields));
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
