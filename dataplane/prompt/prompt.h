/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_PROMPT_PROMPT_H
#define QP_DATAPLANE_PROMPT_PROMPT_H

#include <cmdline_parse.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/*
 * A prompt in testpmd's manner: its commands, in its words and its layout, over
 * whatever the program behind it calls a port, a stream and a lcore (struct
 * qp_prompt_ops). No terminal, no socket, no worker in here: sessions are fed
 * with bytes and give bytes. One thread, which is none that touches packets.
 * One struct qp_prompt in a process: rte_cmdline's commands have no owner.
 */
struct qp_prompt;
struct qp_prompt_session;

#define QP_PROMPT_MAX_PORTS 32u
#define QP_PROMPT_MAX_BURST 512u

/* struct rte_eth_stats' words, as testpmd shows them. */
struct qp_prompt_stats {
	uint64_t ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf;
};

struct qp_prompt_info {
	char name[64], driver[32];
	uint8_t mac[6];
	int socket;                  /* NUMA node; -1: unknown */
	bool up, full_duplex, promiscuous, allmulticast;
	uint32_t speed_mbps;         /* 0: not known */
	uint32_t mtu;
	uint32_t nrx, ntx;
	uint32_t rx_descriptors, tx_descriptors; /* of a queue; 0: not known */
	uint64_t rx_offloads, tx_offloads;       /* RTE_ETH_*_OFFLOAD_* that are on */
};

struct qp_prompt_xstat {
	char name[64];
	uint64_t value;
};

/* Who receives where and sends where. Counters from the start of the program on. */
struct qp_prompt_stream {
	uint32_t lcore;              /* index, as in `lcore` below */
	uint32_t rx_port, rx_queue, tx_port, tx_queue;
	uint64_t rx_packets, tx_packets, tx_dropped;
};

/* Counters likewise. */
struct qp_prompt_lcore {
	uint32_t id, cpu;            /* EAL's, and the machine's */
	int socket;
	uint64_t busy_cycles, idle_cycles; /* turns that found work, and those that did not; sleep excluded */
	uint64_t packets;            /* received and sent */
	uint64_t bytes;              /* of payload that was carried, as the engine understands it */
};

/*
 * What the commands stand on. A NULL function: the program has no such thing,
 * and the command says so. Functions with a `msg` return 0 or a negative code;
 * what they write there is what the user reads. They must not block.
 */
struct qp_prompt_ops {
	unsigned (*nports)(void *ctx);
	/* False: there is no such port. */
	bool (*port_info)(void *ctx, unsigned port, struct qp_prompt_info *out);
	bool (*port_stats)(void *ctx, unsigned port, struct qp_prompt_stats *out);
	/* The i'th one; false after the last. */
	bool (*port_xstat)(void *ctx, unsigned port, unsigned i, struct qp_prompt_xstat *out);
	int (*port_start)(void *ctx, unsigned port, bool start, struct qp_errmsg *msg);
	int (*port_promisc)(void *ctx, unsigned port, bool on, struct qp_errmsg *msg);
	bool (*stream)(void *ctx, unsigned i, struct qp_prompt_stream *out);
	bool (*lcore)(void *ctx, unsigned i, struct qp_prompt_lcore *out);
	/* Forwarding. */
	bool (*running)(void *ctx);
	int (*start)(void *ctx, bool start, struct qp_errmsg *msg);
	const char *(*fwd)(void *ctx);      /* the engine's name */
	int (*set_fwd)(void *ctx, const char *engine, struct qp_errmsg *msg);
	const char *fwd_engines;     /* "tunnel|io|mac|…", for the help */
	uint32_t (*burst)(void *ctx);
	int (*set_burst)(void *ctx, uint32_t n, struct qp_errmsg *msg);
	uint32_t (*verbose)(void *ctx);
	int (*set_verbose)(void *ctx, uint32_t level, struct qp_errmsg *msg);
	/* Lists of the program's own. */
	void (*show_tunnels)(void *ctx, struct qp_prompt_session *to);
	void (*show_neighbours)(void *ctx, struct qp_prompt_session *to);
	/* After the generic part of `show config fwd`. */
	void (*show_config)(void *ctx, struct qp_prompt_session *to);
	/* The session that is the program's own terminal said so. */
	void (*quit)(void *ctx);
};

struct qp_prompt_config {
	const struct qp_prompt_ops *ops; /* borrowed */
	void *ctx;
	/* Commands of the program's own; NULL, or NULL at the end. Their handlers use qp_prompt_speaking(). */
	cmdline_parse_inst_t *const *extra;
	const char *extra_help;      /* a line each; NULL: none */
};

/* QP_E_NOMEM. There is one in a process. */
int qp_prompt_new(const struct qp_prompt_config *cfg, struct qp_prompt **out, struct qp_errmsg *msg);
/* Its sessions must be closed. NULL is allowed. */
void qp_prompt_free(struct qp_prompt *p);

struct qp_prompt_session_config {
	const char *sign;            /* what asks for a command: "quicport> "; borrowed for the call */
	bool quiet;                  /* as a file is read: neither sign nor echo */
	bool owner;                  /* `quit` ends the program, else only the session */
	/* What it says; must not call back. */
	void (*write)(void *ctx, const char *bytes, uint32_t len);
	void *ctx;
};

/* Shows the sign at once. NULL: out of memory or of descriptors. */
struct qp_prompt_session *qp_prompt_open(struct qp_prompt *p, const struct qp_prompt_session_config *cfg);
/* What was typed; a command is done when its line ends. False: `quit` was among it, the rest is not looked at. */
bool qp_prompt_feed(struct qp_prompt_session *s, const char *bytes, uint32_t len);
void qp_prompt_close(struct qp_prompt_session *s);
/* What --stats-period shows each time. */
void qp_prompt_show_period(struct qp_prompt_session *s);
/* As `start` does. */
int qp_prompt_start(struct qp_prompt *p, struct qp_errmsg *msg);

/* For commands and lists: says something in the session. */
void qp_prompt_say(struct qp_prompt_session *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Whose command is being done. */
struct qp_prompt_session *qp_prompt_speaking(void);

#endif
