/* SPDX-License-Identifier: Apache-2.0 */
/* Text, JSON and histogram files of a run. Main thread. */
#include "bench/report.h"

#include <errno.h>
#include <jansson.h>
#include <rte_cycles.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/worker.h"

#define HGRM_TICKS 5u

static const struct {
	const char *name;
	double percentile;
} levels[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99_9", 99.9}, {"p99_99", 99.99}};

static const char *const verdict_names[] = {"clean", "lost", "usage", "failed"};

static double
a_second(const struct qpb_result *r, uint64_t n)
{
	return r->seconds > 0 ? (double)n / r->seconds : 0;
}

static double
busy_share(const struct qpb_figures *f)
{
	double all = (double)(f->cycles_busy + f->cycles_idle);

	return all > 0 ? (double)f->cycles_busy / all : 0;
}

static long
resident_kib(void)
{
	struct rusage u;

	return getrusage(RUSAGE_SELF, &u) == 0 ? u.ru_maxrss : 0;
}

/* Text. */

static void
text_latency(const struct qpb_hist *h, FILE *to)
{
	if (h == NULL || h->total == 0)
		return;
	fprintf(to, "  latency, us:");
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		fprintf(to, " %s %.1f", levels[i].name,
			(double)qpb_hist_percentile(h, levels[i].percentile) / 1e3);
	fprintf(to, " max %.1f (%llu values)\n", (double)h->max / 1e3,
		(unsigned long long)h->total);
}

static void
text_scenario(const struct qpb *b, const struct qpb_result *r, FILE *to)
{
	const struct qpb_figures *f = &r->run;

	switch (b->cfg.scenario) {
	case QPB_HANDSHAKES:
		fprintf(to, "  tunnels: %.1f/s\n", a_second(r, f->tunnels_opened));
		break;
	case QPB_IDLE:
		fprintf(to, "  held: %u tunnels, %llu connections\n", b->cfg.clients,
			(unsigned long long)r->total.conns_opened);
		break;
	case QPB_UDP:
		fprintf(to, "  datagrams: %.1f/s sent, %.1f/s arrived, %.1f/s answers back\n",
			a_second(r, f->dgrams_sent), a_second(r, f->dgrams_arrived),
			a_second(r, f->dgrams_back));
		break;
	case QPB_CONNECTIONS:
		fprintf(to, "  connections: %.1f/s\n", a_second(r, f->requests_done));
		break;
	case QPB_REQUESTS:
		fprintf(to, "  requests: %.1f/s\n", a_second(r, f->requests_done));
		break;
	default:
		break;
	}
}

void
qpb_report_text(const struct qpb *b, const struct qpb_result *r, FILE *to)
{
	const struct qpb_figures *f = &r->run;

	fprintf(to, "%s: %u tunnels, %u users, %.1f s measured (set-up %.2f s)\n",
		qpb_scenario_names[b->cfg.scenario], b->cfg.clients, qpb_users_wanted(&b->cfg),
		r->seconds, r->set_up_seconds);
	text_scenario(b, r, to);
	fprintf(to, "  payload: %.3f Gbit/s to services, %.3f Gbit/s to users\n",
		a_second(r, f->service_rx_bytes) * 8 / 1e9,
		a_second(r, f->user_rx_bytes) * 8 / 1e9);
	if (f->requests_unserved > 0)
		fprintf(to, "  unserved: %llu, whose time had come, found nobody free\n",
			(unsigned long long)f->requests_unserved);
	text_latency(r->latency, to);
	for (unsigned i = 0; i < b->nworkers; i++)
		fprintf(to, "  lcore %u: %.1f %% busy, %.3f Mpps in, %.3f Mpps out\n",
			r->lcore_id[i], 100 * busy_share(&r->lcore[i]),
			a_second(r, r->lcore[i].rx_frames) / 1e6,
			a_second(r, r->lcore[i].tx_frames) / 1e6);
	fprintf(to, "  %s%s%s\n", verdict_names[r->verdict], r->why[0] != '\0' ? ": " : "", r->why);
}

/* JSON. */

static json_t *
figures_json(const struct qpb_figures *f)
{
	json_t *o = json_object();

#define X(field, help) json_object_set_new(o, #field, json_integer((json_int_t)f->field));
	QPB_FIGURES(X)
#undef X
	return o;
}

static json_t *
config_json(const struct qpb *b)
{
	const struct qpb_config *c = &b->cfg;
	char size[32], answer[32];

	qpb_sizes_format(&c->size, size, sizeof(size));
	qpb_sizes_format(&c->answer, answer, sizeof(answer));
	return json_pack(
		"{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:b, s:I}",
		"scenario", qpb_scenario_names[c->scenario], "direction",
		qpb_direction_names[c->direction], "arrivals",
		qpb_arrival_names[c->rate == 0 ? QPB_CLOSED : c->arrivals], "rate",
		(json_int_t)c->rate, "clients", (json_int_t)c->clients, "users",
		(json_int_t)qpb_users_wanted(c), "addresses", (json_int_t)b->users.count, "size",
		size, "response_size", answer, "echo", c->echo, "seconds", (json_int_t)c->seconds,
		"warmup", (json_int_t)c->warmup, "seed", (json_int_t)c->seed, "mtu",
		(json_int_t)c->mtu, "verify", c->verify, "lcores", (json_int_t)b->nworkers);
}

char *
qpb_report_config(const struct qpb *b)
{
	json_t *o = config_json(b), *value;
	const char *key;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL || o == NULL) {
		json_decref(o);
		return NULL;
	}
	json_object_foreach(o, key, value)
	{
		char *is = json_dumps(value, JSON_ENCODE_ANY);

		fprintf(f, "  %s=%s\n", key, is != NULL ? is : "");
		free(is);
	}
	fclose(f);
	json_decref(o);
	return text;
}

static json_t *
latency_json(const struct qpb_hist *h)
{
	json_t *o = json_object();

	json_object_set_new(o, "count", json_integer(h != NULL ? (json_int_t)h->total : 0));
	if (h == NULL || h->total == 0)
		return o;
	json_object_set_new(o, "min", json_integer((json_int_t)h->min));
	json_object_set_new(o, "mean", json_real(qpb_hist_mean(h)));
	json_object_set_new(o, "stddev", json_real(qpb_hist_deviation(h)));
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		json_object_set_new(o, levels[i].name,
			json_integer((json_int_t)qpb_hist_percentile(h, levels[i].percentile)));
	json_object_set_new(o, "max", json_integer((json_int_t)h->max));
	return o;
}

static json_t *
lcores_json(const struct qpb *b, const struct qpb_result *r)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < b->nworkers; i++) {
		const struct qpb_figures *f = &r->lcore[i];

		json_array_append_new(a,
			json_pack("{s:I, s:I, s:I, s:f, s:I, s:I}", "lcore",
				(json_int_t)r->lcore_id[i], "cycles_busy",
				(json_int_t)f->cycles_busy, "cycles_idle",
				(json_int_t)f->cycles_idle, "busy", busy_share(f), "rx_frames",
				(json_int_t)f->rx_frames, "tx_frames", (json_int_t)f->tx_frames));
	}
	return a;
}

static json_t *
result_json(const struct qpb *b, const struct qpb_result *r)
{
	const struct qpb_figures *f = &r->run;

	return json_pack(
		"{s:s, s:s, s:s, s:o, s:f, s:f, s:f, s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}, "
		"s:o, s:o, s:o, s:o, s:I, s:I}",
		"version", QP_VERSION, "verdict", verdict_names[r->verdict], "why", r->why,
		"config", config_json(b), "seconds", r->seconds, "set_up_seconds",
		r->set_up_seconds, "started", r->started_unix_s, "per_second", "bits_to_services",
		a_second(r, f->service_rx_bytes) * 8, "bits_to_users",
		a_second(r, f->user_rx_bytes) * 8, "requests", a_second(r, f->requests_done),
		"connections", a_second(r, f->conns_opened), "tunnels",
		a_second(r, f->tunnels_opened), "datagrams_sent", a_second(r, f->dgrams_sent),
		"datagrams_arrived", a_second(r, f->dgrams_arrived), "datagrams_back",
		a_second(r, f->dgrams_back), "latency_ns", latency_json(r->latency), "measured",
		figures_json(f), "total", figures_json(&r->total), "lcores", lcores_json(b, r),
		"resident_kib", (json_int_t)resident_kib(), "tsc_hz", (json_int_t)rte_get_tsc_hz());
}

/* Files. "-" is standard output. */

static FILE *
open_file(const char *path, struct qp_errmsg *msg)
{
	FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

	if (f == NULL)
		(void)qp_fail(msg, QP_E_IO, "cannot write %s: %s", path, strerror(errno));
	return f;
}

static int
close_file(FILE *f, int rc, const char *path, struct qp_errmsg *msg)
{
	if (f != stdout ? fclose(f) != 0 : fflush(f) != 0)
		rc = QP_E_IO;
	return rc < 0 ? qp_fail(msg, rc, "cannot write %s: %s", path, strerror(errno)) : 0;
}

int
qpb_report_json(
	const struct qpb *b, const struct qpb_result *r, const char *path, struct qp_errmsg *msg)
{
	json_t *o = result_json(b, r);
	FILE *f = open_file(path, msg);
	int rc;

	if (f == NULL) {
		json_decref(o);
		return QP_E_IO;
	}
	rc = o != NULL && json_dumpf(o, f, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) == 0 &&
			     fputc('\n', f) != EOF
		     ? 0
		     : QP_E_IO;
	json_decref(o);
	return close_file(f, rc, path, msg);
}

int
qpb_report_hgrm(const struct qpb_result *r, const char *path, struct qp_errmsg *msg)
{
	FILE *f = open_file(path, msg);

	if (f == NULL)
		return QP_E_IO;
	return close_file(f, qpb_hist_write_hgrm(r->latency, 1000, HGRM_TICKS, f), path, msg);
}

int
qpb_report_hlog(const struct qpb_result *r, const char *path, struct qp_errmsg *msg)
{
	FILE *f = open_file(path, msg);

	if (f == NULL)
		return QP_E_IO;
	return close_file(
		f, qpb_hist_write_log(r->latency, r->started_unix_s, r->seconds, f), path, msg);
}
