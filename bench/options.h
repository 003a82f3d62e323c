/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_BENCH_OPTIONS_H
#define QP_BENCH_OPTIONS_H

#include "bench/bench.h"
#include "common/opt.h"

/*
 * The command line: `quicport-bench [EAL options --] [options]`. Main thread,
 * before EAL starts.
 */
struct qpb_options {
	/* One for each port, in EAL's order. */
	struct qp_opt_strings ports, ips, nets, vias;
	const char *lcores;
	const char *size, *response_size;
	const char *json, *hgrm, *hlog, *cmdline_file;
	bool interactive, auto_start;
	uint32_t stats_period;
	struct qp_sockaddr target;
	struct in6_addr outside;
	bool target_given, outside_given, no_verify;
	struct qp_secret *psk, *privkey;
	const char *psk_file, *privkey_file, *server_pubkey, *server_pubkey_file;
	uint32_t mtu, queues, first_port, tcp_kib, stream_kib, conn_kib;
};

/* Fills `o` and the plain numbers of `cfg`. Exits after --help (0) and after a mistake (2). */
void qpb_options_parse(struct qpb_options *o, struct qpb_config *cfg, int argc, char **argv);
/* One option of the load, as the prompt sets it. QP_E_NOTFOUND, QP_E_INVAL. */
int qpb_options_set(struct qpb_options *o, struct qpb_config *cfg, const char *name, const char *text,
	struct qp_errmsg *msg);
/*
 * What the values mean together: ports, addresses, keys, sizes; b->nworkers
 * stands. QP_E_INVAL, or a key's file's error.
 */
int qpb_options_resolve(struct qpb_options *o, struct qpb *b, struct qp_errmsg *msg);
void qpb_options_free(struct qpb_options *o);

/*
 * The words for rte_eal_init: argv's before "--" (none without a "--"), and what
 * must be with them: a file prefix of our own, lcores, ports. NULL at the end;
 * NULL: out of memory. `*own`: index of argv's word before our first option.
 */
int qpb_eal_own(int argc, char **argv);
char **qpb_eal_words(int own, char **argv, const struct qpb_options *o, int *n);

#endif
