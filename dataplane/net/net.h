/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NET_NET_H
#define QP_DATAPLANE_NET_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/counters.h"
#include "common/nic.h"
#include "dataplane/ip.h"

struct rte_mbuf;
struct rte_mempool;
struct qp_wheel;

/*
 * The host at layers 2 and 3 on dedicated ports, as the kernel is in host mode:
 * neighbours by ARP and NDP, echo and ICMP errors, routes, VLAN tags, and which
 * packets are for us at all. What is a connection is left to TCP, UDP and QUIC.
 *
 * One struct qp_net a lcore, shared with no other thread: no locks. Several of
 * them are one host: each answers what it receives, and copies what all have to
 * know of neighbours to the others (`replicate`, qp_net_learn). It knows no
 * device: the clock, mbufs, ways out and random numbers are injected.
 *
 * A port is an index in struct qp_nic_net's link[]. Frames begin at the Ethernet
 * header.
 */
struct qp_net;

struct qp_net_counters {
#define X(field, help) uint64_t field;
	QP_NET_COUNTERS(X)
#undef X
};

struct qp_net_port {
	uint8_t mac[6];
	uint16_t mtu;     /* IP bytes of a packet: the most that the configuration may ask for */
	bool insert_vlan; /* the device inserts tags: RTE_MBUF_F_TX_VLAN and vlan_tci, no bytes */
};

/* All borrowed for its life. */
struct qp_net_env {
	const uint64_t *now_ns;
	struct qp_wheel *wheel;
	struct rte_mempool *pool; /* plain mbufs, 2 KiB data room: own packets */
	/*
	 * Consumes the frame, which is complete but for what the device does: the
	 * flags and lengths of qp_ip_encap, and l2_len 18 with a tag in its bytes.
	 */
	void (*transmit)(void *ctx, unsigned port, struct rte_mbuf *frame);
	void *transmit_ctx;
	/* Borrows the frame: a copy of it for qp_net_learn of each other lcore. NULL: there is none. */
	void (*replicate)(void *ctx, unsigned port, const struct rte_mbuf *frame);
	void *replicate_ctx;
	uint64_t (*random)(void *ctx); /* unpredictable 64 bits */
	void *random_ctx;
};

/* Rates are a second's, of this lcore. */
struct qp_net_config {
	uint32_t max_neighbours;
	uint32_t max_held;       /* frames that wait for neighbours' addresses, in all */
	uint32_t error_rate;     /* ICMP errors (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f)) */
	uint32_t echo_rate;      /* echo replies */
	uint32_t solicit_rate;   /* neighbours asked for anew, routers excepted */
	uint32_t heard_rate;     /* neighbours noted that asked for us */
	uint32_t replicate_rate; /* of each kind: answers, questions, what is of routers */
};
void qp_net_config_default(struct qp_net_config *cfg);

/* Without addresses and routes until it is configured. NULL when out of memory. */
struct qp_net *qp_net_new(const struct qp_net_env *env, const struct qp_net_config *cfg,
	const struct qp_net_port *ports, unsigned nports);
/* Frames that wait are freed. NULL is allowed. */
void qp_net_free(struct qp_net *net);
const struct qp_net_counters *qp_net_counters(const struct qp_net *net);

/*
 * Looks whether addresses and routes have changed (another process writes them),
 * and takes them: true. Cheap when nothing has; while they are being written it
 * waits for another call. `fresh`: IPv6 addresses that were not there before are
 * silent for a second, until it is known that nobody else has them (RFC 4862,
 * 5.4); false when another generation of this gateway uses them already.
 */
bool qp_net_poll_config(struct qp_net *net, const struct qp_nic_net *shared, bool fresh);
/*
 * Tells the links whose the addresses are, and asks whether somebody else has
 * them: one lcore of all does, when it takes the ports over and when addresses
 * have changed.
 */
void qp_net_announce(struct qp_net *net);

/* A port's link is back: its neighbours may be others. The one that announces does so then. */
void qp_net_link_up(struct qp_net *net, unsigned port);

enum qp_net_verdict {
	QP_NET_CONSUMED, /* the frame is gone: answered, learned from, or dropped and counted */
	QP_NET_UP,       /* the caller's still: TCP, UDP or an ICMP error, to one of the addresses */
};

/* Of a frame that goes up. Offsets from the start of mbuf data. */
struct qp_net_info {
	uint16_t l4_off;  /* transport header, or what a later fragment has there */
	uint16_t mtu;     /* of the link, for this IP version */
	uint8_t proto;    /* IPPROTO_TCP, _UDP, _ICMP, _ICMPV6 */
	uint8_t addr;     /* its destination's place in qp_nic_net.addr; QP_NET_NO_ADDR: link-local */
	bool v4;
	bool fragment;    /* a piece of a TCP or UDP packet */
};
#define QP_NET_NO_ADDR 0xffu

/*
 * A received frame. QP_NET_UP: its VLAN tag is out; addresses and header lengths
 * are checked, IPv6 extension headers walked; checksums and lengths of the
 * transport are left to qp_ip_parse.
 */
enum qp_net_verdict qp_net_input(struct qp_net *net, unsigned port, struct rte_mbuf *m,
	struct qp_net_info *info);
/* A frame that another lcore's qp_net_input replicated. Consumes it. */
void qp_net_learn(struct qp_net *net, unsigned port, struct rte_mbuf *m);
/*
 * Nobody is behind the UDP port that a frame, which went up, asked for: says so
 * to its sender, within limits. Consumes the frame.
 */
void qp_net_port_unreachable(struct qp_net *net, unsigned port, struct rte_mbuf *m);

/*
 * A packet with the headers of qp_ip_encap, towards the next hop to its
 * destination; consumed: transmitted, held until the neighbour answers, or
 * dropped and counted. Its Ethernet destination says by which port, among equal
 * routes: 02:71 and QP_NIC_IFINDEX(port), as common/classifier.h has it.
 */
void qp_net_output(struct qp_net *net, struct rte_mbuf *m);

/*
 * The own address that packets to `dest` come from best (RFC 6724, 5, as far as
 * addresses by hand need it), and the port that they leave by. False: no route.
 */
bool qp_net_source(const struct qp_net *net, const struct qp_ipaddr *dest, struct qp_ipaddr *source,
	unsigned *port);
/* IP bytes of a packet on a port's link. */
uint16_t qp_net_mtu(const struct qp_net *net, unsigned port, bool v4);

/* A neighbour, for people. */
struct qp_net_neighbour {
	struct qp_ipaddr addr;
	const char *state;  /* RFC 4861's; static text */
	uint8_t mac[6];     /* zeros while it is INCOMPLETE */
	uint8_t port;
	bool pinned;        /* a route leads by it */
};
/* From place `from` on, `most` of them: how many in `*n`. Where to go on; 0: these were the last. */
uint32_t qp_net_neighbours(const struct qp_net *net, uint32_t from, struct qp_net_neighbour *out,
	uint32_t most, uint32_t *n);

#endif
