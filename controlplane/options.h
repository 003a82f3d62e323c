/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_OPTIONS_H
#define QP_CONTROLPLANE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/auth.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/opt.h"
#include "controlplane/allow.h"
#include "controlplane/config.h"
#include "controlplane/console.h"
#include "controlplane/options_nic.h"
#include "controlplane/policy.h"
#include "controlplane/settings.h"

/* Who may have a port that another tunnel of its own holds (--port-takeover). */
enum qp_takeover {
	QP_TAKEOVER_AUTO, /* X25519 clients, and PSKs with a name */
	QP_TAKEOVER_ALWAYS,
	QP_TAKEOVER_NEVER,
};

struct qp_options_ports {
	struct qp_port_range *range; /* for the process's life */
	unsigned n;
};

/* Who may ask the private API, and how it is protected. */
struct qp_api_options {
	const char *socket; /* a Unix socket beside TCP; NULL: none */
	const char *socket_mode_text;
	const char *socket_group;
	uint32_t socket_mode;
	const char *token_file;
	const char *tls_cert, *tls_key;
};

/*
 * What the operator asked for, and the credentials that follow from it. Main
 * thread; written at the start, except the keyset (SIGHUP).
 */
struct qp_options {
	const char *config; /* the configuration file; NULL: none */
	bool watch_config;
	struct qp_config *file; /* what it says; NULL: there is none */
	int argc;
	char **argv; /* the words that were read, borrowed; secrets in them are wiped */
	struct qp_settings settings;
	bool privkey_in_words, psk_in_words; /* in the command line or the environment */
	uint32_t drain_grace_s; /* … and what carries something then goes on for so long */
	uint32_t drain_timeout_s; /* how long a data plane drains; 0: as long as its last tunnel */
	uint32_t hang_timeout_ms; /* a data plane without a sign of life for so long is killed; 0: never */
	uint32_t orphan_timeout_s; /* how long data planes and port owner live without us */
	struct qp_sockaddr control_plane_addr; /* TCP: the private API, unless private_api_listen */
	struct qp_sockaddr data_plane_addr; /* UDP: QUIC; TCP: the public API at the next port */
	struct qp_sockaddr private_api_listen; /* resolved: where the private API listens */
	struct qp_api_options api;
	struct in6_addr forward_addr; /* all zero: every address */
	bool no_public_api;
	bool no_auto_dataplane;
	bool busy_poll;
	uint32_t keep_alive_s;
	uint32_t idle_timeout_s;
	uint32_t memory_mib; /* 0: see qp_options_memory */
	uint32_t data_plane_heap_mib;    /* of each; 0: no limit */
	uint32_t control_plane_heap_mib; /* 0: no limit */
	uint32_t workers;
	/* Of the data plane's TCP; choices by number, as in struct qp_msg_tcp. */
	int tcp_congestion;
	int tcp_ecn;
	bool tcp_pacing;
	bool tcp_fast_open;
	uint32_t tcp_buffer_kib;
	uint32_t tcp_max_conns;
	uint32_t tcp_keepalive_s;
	uint32_t tcp_user_timeout_s;
	uint32_t tcp_zero_window_s;
	uint32_t tcp_max_per_source;
	/* Of UDP forwards. */
	uint32_t udp_idle_timeout_s;
	uint32_t udp_max_flows;
	uint32_t udp_max_flows_per_tunnel;
	struct qp_opt_strings interfaces;
	struct qp_nic_options nic; /* dedicated ports, and the workers' CPUs */
	/* Of forwarded ports. */
	struct qp_port_range any_port; /* 0 is answered with one of these */
	struct qp_options_ports reserved_ports; /* nobody may open these */
	uint32_t lease_time_s;         /* 0: no leases */
	int port_takeover;             /* enum qp_takeover */
	/* What is kept. */
	const char *state_dir;
	const char *audit_log; /* NULL: none */
	bool audit_conns;      /* a row for each outside connection */
	struct qp_allow allow;        /* what clients reach by local forwards */
	uint32_t local_forward_ports; /* of each worker, for its own connections */
	struct qp_secret *privkey; /* text as given, with its NUL; NULL: not given */
	const char *port_owner_socket; /* NULL: the port owner is our child */
	const char *privkey_file;
	const char *client_pubkeys;
	const char *client_pubkeys_file;
	struct qp_secret *psk;
	struct qp_console_options console;
	struct qp_log_config log;
};

#define QP_OPTIONS_MAX 128u
/* In: whether the same words had them before, which were wiped since. Out: true when there is one now, too. */
struct qp_options_given {
	bool privkey, psk;
};
/* options_list.c: all options, which are read into `o` and `given`; the last one is all zero. */
void qp_options_list(struct qp_options *o, struct qp_options_given *given, struct qp_opt out[QP_OPTIONS_MAX]);

/* Whether options that are fine by themselves go together; calls the next one, too. */
int qp_options_check(struct qp_options *o, struct qp_errmsg *msg);
/* Whether the private API is safe where it listens; reads socket_mode out of its text. */
int qp_options_check_api(struct qp_options *o, struct qp_errmsg *msg);
/* Names the option that errors mean when the private API cannot listen. */
const char *qp_options_private_api_name(const struct qp_options *o);
/*
 * MiB of hugepages for the port owner: as told, or else what QP_GENERATIONS data planes need, or as
 * much as is free if that holds one at least; `*few` says so.
 */
#define QP_GENERATIONS 4u
uint32_t qp_options_memory(const struct qp_options *o, bool *few);
/* 0: no public API. Host order. */
uint16_t qp_options_public_port(const struct qp_options *o);

/*
 * Parses and checks what can be checked without touching the system. 0; QP_OPT_DONE
 * after --help; QP_E_INVAL.
 */
int qp_options_parse(struct qp_options *o, int argc, char **argv, struct qp_errmsg *msg);

struct qp_options_how {
	/* The same words once more: secrets in them are those of `before`. NULL: the first time. */
	const struct qp_options *before;
	struct qp_mistakes *mistakes; /* gets the file's, all of them; NULL: msg has the first */
	bool check;                   /* `quicport check-config FILE`: the file is an argument */
};
/* On failure `o` has nothing to free; else qp_options_free. */
int qp_options_read(struct qp_options *o, int argc, char **argv, const struct qp_options_how *how,
	struct qp_errmsg *msg);
/* Whether a data plane reads it at its start: it counts for the next generation. */
bool qp_options_of_generation(const char *option);
/* Copies these, with their settings, and nothing else. `to` may be all zero before. */
void qp_options_take_generation(struct qp_options *to, const struct qp_options *from);
/* Puts "FILE:LINE: " before a mistake that begins with an option of the file's. */
void qp_options_locate(const struct qp_options *o, struct qp_errmsg *msg);
/* Secrets, what was read of the file, settings. */
void qp_options_free(struct qp_options *o);

/*
 * The clients of all options and of the file. `psk`: of --psk, or the one that
 * was made; NULL: none. `api`: what the API has written; NULL: nothing.
 * QP_E_INVAL with what is in `m`.
 */
int qp_options_policy(const struct qp_options *o, const struct qp_secret *psk, const char *psk_origin,
	const char *api, struct qp_mistakes *unreadable, struct qp_policy **out, struct qp_mistakes *m);

/* A path in the configuration folder; as long as a ring message can tell it to a data plane. */
#define QP_CONFIG_PATH_BYTES 192u

/* Keys and PSK in guarded memory, and where they came from. */
struct qp_credentials {
	struct qp_secret *private_key; /* NULL: no client may come by X25519 */
	uint8_t public_key[QP_KEY_BYTES];
	struct qp_secret *psk; /* NULL: none is given and X25519 is on, so none is made */
	char *api_clients; /* what the API has written, see struct qp_config_base; from malloc, or NULL */
	struct qp_policy *policy; /* the first one; the gateway takes it, and leaves NULL */
	char psk_path
		[QP_CONFIG_PATH_BYTES]; /* the file, when no option gave a credential; else "" */
	bool psk_created;
	char cert_path[QP_CONFIG_PATH_BYTES];
	char key_path[QP_CONFIG_PATH_BYTES];
};

/*
 * Reads, or makes, keys, PSK and certificate. Frees the secrets of `o`, which
 * are not needed any more. On failure nothing is kept.
 */
int qp_credentials_load(struct qp_credentials *c, struct qp_options *o, struct qp_errmsg *msg);
void qp_credentials_free(struct qp_credentials *c);
/* qp_options_policy with these credentials; `msg` sums the mistakes up. */
int qp_credentials_policy(const struct qp_credentials *c, const struct qp_options *o,
	struct qp_policy **out, struct qp_errmsg *msg);

#endif
