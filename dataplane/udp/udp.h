/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_UDP_UDP_H
#define QP_DATAPLANE_UDP_UDP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/counters.h"
#include "dataplane/ip.h"
#include "dataplane/memory.h"
#include "dataplane/timer.h"

struct rte_mbuf;
struct rte_mempool;
struct qp_tunnel;
struct qp_local_conn;
struct qp_quic_stream;

/*
 * UDP forwards. Each outside address and port that sends to a forwarded port
 * is a virtual connection ("flow") with a QUIC stream of its own; both
 * directions carry records of length and payload. One struct qp_udp a lcore,
 * shared with no other thread: no locks. The clock, pools and the way out are
 * injected, so that a test drives it without a port.
 */
struct qp_udp;
struct qp_udp_port;
struct qp_udp_flow;
TAILQ_HEAD(qp_udp_flow_queue, qp_udp_flow);

struct qp_udp_counters {
#define X(field, help) uint64_t field;
	QP_UDP_COUNTERS(X)
#undef X
};

/* All borrowed for the module's life. */
struct qp_udp_env {
	const uint64_t *now_ns;
	struct qp_wheel *wheel;
	struct rte_mempool *pool;          /* plain mbufs, 2 KiB data room */
	struct rte_mempool *indirect_pool; /* clones of payload in fragments */
	uint8_t own_mac[6];
	bool udp_segmentation;             /* the port takes RTE_MBUF_F_TX_UDP_SEG */
	/* Consumes the frame, which is ready for qp_port_tx. Never fails to the caller. */
	void (*transmit)(void *ctx, struct rte_mbuf *frame);
	void *transmit_ctx;
	const uint8_t *mem_level;          /* enum qp_mem_level, as of this turn */
	uint64_t (*random)(void *ctx);     /* unpredictable 64 bits */
	void *random_ctx;
};

struct qp_udp_config {
	uint64_t idle_ns;              /* silence both ways that ends a flow */
	uint32_t max_flows;
	uint32_t max_flows_per_tunnel;
	uint32_t queue_bytes;          /* of a flow that wait to be sent, for window or credit */
	uint32_t flight_bytes;         /* … and with those that a client has not acknowledged */
	uint32_t max_waiting;          /* flows of a tunnel that wait for a stream */
	uint32_t icmp_limit;           /* port unreachable messages a second */
	uint64_t fragment_ns;          /* until a datagram's fragments are given up */
};
void qp_udp_config_default(struct qp_udp_config *cfg);

/* NULL when out of memory. */
struct qp_udp *qp_udp_new(const struct qp_udp_env *env, const struct qp_udp_config *cfg);
/* When all ports are closed. NULL is allowed. */
void qp_udp_free(struct qp_udp *u);
const struct qp_udp_counters *qp_udp_counters(const struct qp_udp *u);

/* A received datagram, or super-segment of datagrams, that qp_ip_parse accepted. Consumes `m`. */
void qp_udp_input(struct qp_udp *u, struct rte_mbuf *m, const struct qp_packet *pkt);
/*
 * A frame that qp_ip_parse called a fragment. False: not of a UDP datagram,
 * nothing is done. True: consumed; a datagram that is whole now goes its way.
 */
bool qp_udp_fragment(struct qp_udp *u, struct rte_mbuf *m);
/* An ICMP packet. False: not about UDP, nothing is done. True: consumed. */
bool qp_udp_icmp_input(struct qp_udp *u, struct rte_mbuf *m, const struct qp_packet *pkt);
/* Once a worker loop after input: datagrams that waited for more of their kind leave. */
void qp_udp_flush(struct qp_udp *u);

/* Forwards a port to a tunnel. `addr` NULL: all addresses. QP_E_INUSE, QP_E_NOMEM. */
int qp_udp_listen(struct qp_udp *u, const struct qp_ipaddr *addr, uint16_t port_be,
	struct qp_tunnel *t, struct qp_udp_port **out);
void qp_udp_unlisten(struct qp_udp_port *p);
/* Another tunnel has the port from now on; flows stay with theirs. `addr` as above. */
void qp_udp_port_give(
	struct qp_udp_port *p, const struct qp_ipaddr *addr, struct qp_tunnel *t);

/* qp_udp_connect chooses its local port among these (host order); before, there is none. */
void qp_udp_set_ports(struct qp_udp *u, uint16_t first, uint32_t count);
/*
 * A flow to the outside for a stream that a client has opened in a local
 * forward, whose id is read already: `to` without a local port. The flow has the
 * stream's context, and `local`, from then on; `conn_id` is what the client calls it. NULL, and counted why: a limit,
 * no port, no memory.
 */
struct qp_udp_flow *qp_udp_connect(struct qp_udp *u, struct qp_tunnel *t, const struct qp_flow *to,
	struct qp_quic_stream *s, struct qp_local_conn *local, uint32_t conn_id);
/* Ends all of a tunnel's flows. */
void qp_udp_abort_all(struct qp_tunnel *t);
/* Those that hold more than the tunnel's average or just that. */
void qp_udp_abort_largest(struct qp_tunnel *t);
/* The client allows more streams: flows that wait open theirs. */
void qp_udp_open_waiting(struct qp_tunnel *t);
/* ConnectionClose from the client (enum qp_wire_reason): ends the flow. */
void qp_udp_flow_close(struct qp_udp_flow *f, uint8_t reason);

/* By order of the control plane: the same, whatever the client says. */
void qp_udp_flow_kick(struct qp_udp_flow *f);

/* What a flow's stream tells; see struct qp_quic_ops. Each may end the flow. */
void qp_udp_stream_data(struct qp_udp_flow *f, const uint8_t *data, size_t len, bool fin);
/* The same for bytes whose credit the connection has back. False: the flow has ended. */
bool qp_udp_take(struct qp_udp_flow *f, const uint8_t *data, size_t len, bool fin);
void qp_udp_stream_acked(struct qp_udp_flow *f, uint64_t bytes);
void qp_udp_stream_reset(struct qp_udp_flow *f, uint64_t code);
/* STOP_SENDING: nobody reads what the outside sends any more. */
void qp_udp_stream_stopped(struct qp_udp_flow *f, uint64_t code);
void qp_udp_stream_closed(struct qp_udp_flow *f);

#endif
