/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_DATAPLANE_WORLD_H
#define QP_TESTS_DATAPLANE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/ipc.h"
#include "dataplane/quic/quic.h"
#include "dataplane/timer.h"
#include "dataplane/tunnel.h"

/*
 * A gateway in a box: the real QUIC endpoint and tunnels, real ngtcp2 clients
 * (client.h), outside TCP clients (outside.h), a control plane that is played
 * by the test, and a network in memory between them. The clock is virtual: it
 * jumps to whatever happens next. One thread; nothing outside the process.
 */
#define WORLD_MS UINT64_C(1000000)
#define WORLD_S (1000 * WORLD_MS)
#define WORLD_QUIC_PORT 39000
#define WORLD_POOL 8191u

/* For what the box itself relies on; the tests use Criterion's asserts. */
#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #cond);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct client;
TAILQ_HEAD(client_list, client);

enum world_to {
	TO_GATEWAY,
	TO_CLIENT,
	TCP_TO_GATEWAY,
	TCP_TO_OUTSIDE,
};

/* A datagram (its payload) or a TCP frame (an mbuf) on its way. */
struct world_packet {
	TAILQ_ENTRY(world_packet) link;
	uint64_t due_ns;
	enum world_to to;
	struct qp_flow flow; /* as the gateway sees it */
	uint8_t tos;
	struct rte_mbuf *frame; /* TCP only */
	size_t len;
	uint8_t data[];
};
TAILQ_HEAD(world_packets, world_packet);

/* What the network does to datagrams; per mille, by the world's seed. */
struct world_net {
	uint64_t delay_ns;
	unsigned loss, duplication, reordering;
	size_t max_udp_payload; /* larger ones vanish */
	uint16_t link_mtu; /* what the gateway's frames say of the link they came by; 0: nothing */
	bool gro; /* the gateway's port coalesces what arrives together */
	bool hold; /* datagrams to the gateway wait until let go */
	/* Sees each datagram to the gateway first, and may change it. NULL: none. */
	void (*tap)(void *ctx, uint8_t *data, size_t len);
	void *tap_ctx;
	uint64_t lost; /* out: datagrams lost */
};

/* The control plane: by itself it lets everybody in who knows the golden keys. */
struct world_cp {
	bool manual; /* the test answers */
	bool refuse_ports;
	bool full; /* takes no new clients */
	struct qp_msg_identity identity; /* of whoever is let in */
	bool silent_locals; /* says nothing to LOCAL_REQUEST */
	uint8_t local_hosts[4]; /* where local forwards lead: 203.0.113.x; none: denied */
	uint8_t nlocal_hosts;
	struct qp_msg *log; /* all that the data plane said, in order */
	size_t len, cap, answered;
};

struct world_config {
	uint32_t stream_window;     /* of a new relay */
	struct qp_quic_config quic; /* certificate and key are filled in */
	bool udp_segmentation;
	uint64_t seed;
	uint32_t tcp_window; /* fake TCP: receive buffer of a connection */
};

struct world {
	struct world_config cfg;
	uint64_t now_ns;
	bool more; /* the last turn left work for the next */
	uint64_t random;
	struct qp_wheel *wheel;
	struct rte_mempool *pool, *indirect;
	struct qp_worker_counters counters;
	uint8_t mem_level; /* enum qp_mem_level; by the pool's state, or: */
	bool force_mem_level; /* … the test sets it */
	struct qp_quic *quic;
	struct qp_tunnels *tunnels;
	struct qp_tcp *tcp;
	struct qp_udp *udp;
	struct world_net net;
	struct world_packets packets;
	struct world_packets stray; /* to ports where no client is: for tests that speak raw */
	struct world_cp cp;
	struct client_list clients;
	struct outside *outside;
	/* Frames with datagrams that the port takes a turn, the rest it drops; 0: any number. */
	unsigned port_room, port_taken;
	uint64_t port_dropped;
	uint64_t frames_out, super_frames_out, largest_super;
	uint8_t step1[96], step2[128], step3[32];
	size_t step1_len, step2_len, step3_len;
	char folder[64];
};

/* Once a process, before the first world: EAL. */
void world_init(void);
void world_config_default(struct world_config *cfg);
/* NULL cfg: the default. */
struct world *world_new(const struct world_config *cfg);
/*
 * Ends all and looks that everything was given back: every mbuf, every byte of
 * heap (with AddressSanitizer), every counter of things that exist now.
 */
void world_free(struct world *w);
/* The gateway's process dies and another begins: nothing of its state is left, the keys are. */
void world_restart_gateway(struct world *w);

/* One turn of the gateway's worker and of everybody else, now. */
void world_turn(struct world *w);
/* The clock moves on to what happens next, at most to `limit_ns`; then a turn. */
void world_step(struct world *w, uint64_t limit_ns);
void world_run(struct world *w, uint64_t ns);

/* Runs until `cond`, at most `ns`; its value is that of `cond` at the end. */
#define world_until(w, ns, cond)                                                                   \
	({                                                                                         \
		uint64_t limit_ = (w)->now_ns + (ns);                                              \
		world_turn(w);                                                                     \
		while (!(cond) && (w)->now_ns < limit_)                                            \
			world_step((w), limit_);                                                   \
		(cond);                                                                            \
	})

/* A datagram from anywhere, as it stands. */
void world_send(
	struct world *w, const struct qp_flow *from, uint8_t tos, const void *data, size_t len);
/* A flow (as the gateway sees it) from 198.51.100.7:port to the QUIC port. */
struct qp_flow world_flow(uint16_t port);
/* The same over IPv6. */
struct qp_flow world_flow6(uint16_t port);
/* The oldest datagram to a port where no client is, or NULL; the caller frees it. */
struct world_packet *world_take_stray(struct world *w);
/* Datagrams held by net.hold go on their way. */
void world_let_go(struct world *w);
/* Puts a packet on its way (takes it). */
void world_post(struct world *w, struct world_packet *p);
uint64_t world_random(struct world *w);
/* The same for who wants a function of a context. */
uint64_t world_random_of(void *w);
/* The gateway's port; `ctx` is the world. */
void world_transmit(void *ctx, struct rte_mbuf *frame);
/* Forgets the TCP frames that are on their way. */
void world_drop_frames(struct world *w);

/* The control plane's side. */
/* The n-th (from 0) message of that type that the data plane ever sent, or NULL. */
const struct qp_msg *cp_find(const struct world *w, enum qp_msg_type type, unsigned nth);
unsigned cp_count(const struct world *w, enum qp_msg_type type);
/* Any message: made, and given to the tunnels. */
struct qp_msg cp_message_of(enum qp_msg_type type, uint64_t id);
void cp_send(struct world *w, const struct qp_msg *msg);
/* An answer for the tunnel `id`. */
void cp_reply(struct world *w, uint64_t id, const void *bytes, size_t len);
void cp_verdict(struct world *w, uint64_t id, bool accepted);
void cp_grant(struct world *w, uint64_t id, uint16_t port);
/* A local forward leads to these hosts. */
void cp_local_grant(struct world *w, uint64_t id, const uint8_t *hosts, uint8_t n);
void cp_local_deny(struct world *w, uint64_t id, uint8_t status, const char *text);
void cp_deny(struct world *w, uint64_t id, uint8_t status, const char *text);

uint32_t world_mbufs_in_use(const struct world *w);
/* Takes mbufs away from the pool, up to all; and gives them back. */
unsigned world_take_mbufs(struct world *w, struct rte_mbuf **m, unsigned n);
void world_give_mbufs(struct rte_mbuf **m, unsigned n);

#endif
