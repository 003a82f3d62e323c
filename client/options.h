/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_OPTIONS_H
#define QP_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/keys.h"
#include "common/log.h"
#include "common/opt.h"
#include "include/quicport.h"

/* Exit statuses of `quicport client`; --help tells them. */
enum qpc_exit {
	QPC_EXIT_OK = 0,      /* stopped by a signal */
	QPC_EXIT_FAILED = 1,  /* the connection failed or was lost, or the system failed */
	QPC_EXIT_USAGE = 2,
	QPC_EXIT_AUTH = 3,    /* server not trusted, or authentication failed */
	QPC_EXIT_REFUSED = 4, /* the server did not grant the forward */
};

/* Of what a forward's gateway is, and who we are towards it. Texts; NULL: not said. */
struct qpc_peer {
	const char *server;
	const char *psk, *privkey; /* in guarded memory, or a configuration file's */
	const char *privkey_file, *server_pubkey, *server_pubkey_file;
};

/* One forward as it is asked for. All texts live as long as what they came from. */
struct qpc_spec {
	const char *name; /* NULL: the library makes one */
	enum qp_forward_kind kind;
	const char *remote, *local;
	struct qpc_peer peer;
};
#define QPC_MAX_FORWARDS 256u

struct qpc_specs {
	struct qpc_spec v[QPC_MAX_FORWARDS];
	size_t n;
};

/* What concerns all forwards of a process. */
struct qpc_settings {
	bool insecure, reconnect;
	uint32_t reconnect_max_attempts, reconnect_delay_s;
	uint32_t keep_alive_s, idle_timeout_s, udp_idle_timeout_s;
	uint32_t memory_budget_mib; /* 0: no limit */
};

/* Which of them were said by option or variable: a configuration file does not change these. */
struct qpc_given {
	bool server, psk, privkey, privkey_file, server_pubkey, server_pubkey_file, insecure, reconnect;
	bool reconnect_max_attempts, reconnect_delay, keep_alive, idle_timeout, udp_idle_timeout;
	bool memory_budget;
};

/* The command line and environment of a client command. Main thread. */
struct qpc_options {
	struct qpc_peer peer;
	struct qp_secret *privkey, *psk; /* what peer's texts point to */
	struct qpc_settings set;
	struct qpc_given given;
	struct qp_opt_strings remote_source, local_destination; /* -r, -l: pairs by their order */
	struct qp_opt_strings local_source, remote_destination; /* -L, -R */
	const char *config;    /* --config */
	bool status_line;
	struct qp_log_config log;
	struct qpc_specs specs; /* of the command line */
};

/*
 * `quicport client`. Reads no file. 0; QP_OPT_DONE after --help; else an error
 * whose line in `msg` names the value and the way out. qpc_options_clear in any
 * case.
 */
int qpc_options_parse(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* `quicport ssh-proxy`: one destination, -R. */
int qpc_options_parse_ssh(struct qpc_options *o, int argc, char **argv, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* Wipes the secrets. */
void qpc_options_clear(struct qpc_options *o);

/* A whole peer: a server and a way to prove oneself. `of`: what it is for, in the error. */
int qpc_peer_check(const struct qpc_peer *p, const char *of, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/* What `p` does not say is as in `from`: server and identity each as a whole. */
void qpc_peer_inherit(struct qpc_peer *p, const struct qpc_peer *from);

#endif
