/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quicport-bench: options, EAL, then one run and its report, or a prompt. The
 * main thread sleeps while workers work.
 */
#include <dirent.h>
#include <limits.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/pattern.h"
#include "bench/program.h"
#include "bench/report.h"
#include "bench/terminal.h"
#include "bench/worker.h"
#include "common/clock.h"

static volatile sig_atomic_t interrupted;

struct stats_line {
	struct qpb *b;
	uint32_t period_s;
	uint64_t next_ns, last_ns;
	struct qpb_figures last;
};

static void
on_signal(int number)
{
	interrupted = 1;
}

static int
fail(enum qpb_verdict status, const struct qp_errmsg *msg)
{
	fprintf(stderr, "quicport-bench: %s\n", msg->text);
	return (int)status;
}

/* One line a period, on standard error: standard output may be the JSON. */
static bool
tick(void *ctx)
{
	struct stats_line *s = ctx;
	struct qpb_figures now, d;
	uint64_t at = qp_now_ns();
	double seconds;

	if (s->period_s == 0 || at < s->next_ns)
		return !interrupted;
	qpb_sum(s->b, false, &now);
	qpb_figures_diff(&d, &now, &s->last);
	seconds = (double)(at - s->last_ns) / 1e9;
	if (s->last_ns != 0)
		fprintf(stderr,
			"tunnels %llu, connections/s %.0f, requests/s %.0f, Gbit/s in %.3f out %.3f, "
			"datagrams/s %.0f\n",
			(unsigned long long)now.tunnels_opened, (double)d.conns_opened / seconds,
			(double)d.requests_done / seconds,
			(double)d.service_rx_bytes * 8e-9 / seconds,
			(double)d.user_rx_bytes * 8e-9 / seconds, (double)d.dgrams_sent / seconds);
	s->last = now;
	s->last_ns = at;
	s->next_ns = at + s->period_s * 1000000000ull;
	return !interrupted;
}

static int
start_eal(int own, char **argv, const struct qpb_options *o, struct qp_errmsg *msg)
{
	static char **words; /* EAL keeps pointers to them */
	int n;

	words = qpb_eal_words(own, argv, o, &n);
	if (words == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for EAL's options");
	if (rte_eal_init(n, words) < 0)
		return qp_fail(msg, QP_E_IO,
			"EAL does not start: %s. Check huge pages, and the lines above",
			rte_strerror(rte_errno));
	return 0;
}

/*
 * What EAL leaves of itself, if the folder is ours alone. (Without files at all,
 * --in-memory, net_memif does not start.)
 */
static void
leave_eal(void)
{
	char folder[PATH_MAX], path[2 * PATH_MAX], own[64];
	struct dirent *e;
	DIR *d;

	snprintf(folder, sizeof(folder), "%s", rte_eal_get_runtime_dir());
	snprintf(own, sizeof(own), "/quicport-bench-%d", (int)getpid());
	(void)rte_eal_cleanup();
	if (strstr(folder, own) == NULL || (d = opendir(folder)) == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		(void)unlink(path);
	}
	closedir(d);
	(void)rmdir(folder);
}

/* Without a prompt: one run, and its report. */
static int
run_once(struct qpb_program *p, struct qp_errmsg *msg)
{
	struct stats_line s = {.b = &p->b, .period_s = p->o.stats_period};
	bool json_out = p->o.json != NULL && strcmp(p->o.json, "-") == 0;
	int rc = qpb_program_run(p, tick, &s, msg);

	if (p->has_last)
		qpb_report_text(&p->b, &p->last, json_out ? stderr : stdout);
	return rc;
}

static int
run_prompt(struct qpb_program *p, struct qp_errmsg *msg)
{
	const struct qpb_terminal_config cfg = {
		.file = p->o.cmdline_file,
		.interactive = p->o.interactive,
		.auto_start = p->o.auto_start,
		.stats_period_s = p->o.stats_period,
		.interrupted = &interrupted,
	};

	return qpb_terminal(p, &cfg, msg);
}

/* With EAL up. The exit status. */
static int
measure(struct qpb_program *p, struct qp_errmsg *msg)
{
	int rc = qpb_program_open(p, msg), status;

	if (rc < 0)
		return fail(rc == QP_E_INVAL ? QPB_USAGE : QPB_FAILED, msg);
	if (p->o.interactive || p->o.cmdline_file != NULL)
		rc = run_prompt(p, msg);
	else
		rc = run_once(p, msg);
	status = rc < 0 ? fail(QPB_FAILED, msg) : p->has_last ? (int)p->last.verdict : QPB_CLEAN;
	qpb_program_close(p);
	return status;
}

int
main(int argc, char **argv)
{
	static struct qpb_program p;
	struct qp_errmsg msg;
	const struct sigaction sa = {.sa_handler = on_signal};
	int own = qpb_eal_own(argc, argv), status;

	qpb_options_parse(&p.o, &p.b.cfg, argc - own, argv + own);
	if (qp_keys_init() < 0)
		return fail(QPB_FAILED, &(struct qp_errmsg) {"libsodium does not start"});
	/* Mistakes before EAL's pages of text; the number of workers is not known yet. */
	p.b.nworkers = 1;
	if (qpb_options_resolve(&p.o, &p.b, &msg) < 0)
		return fail(QPB_USAGE, &msg);
	if (start_eal(own, argv, &p.o, &msg) < 0)
		return fail(QPB_FAILED, &msg);
	qpb_pattern_init();
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	status = measure(&p, &msg);
	leave_eal();
	qpb_options_free(&p.o);
	return status;
}
