/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_NET_WORLD_H
#define QP_TESTS_NET_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/net/internal.h"

/*
 * One struct qp_net (or two that replicate to each other), a clock, and links on
 * which a test writes frames byte by byte and finds what was sent. Port 0 has
 * 192.0.2.1/24 and 2001:db8::1/64, gateways .254 and ::fe; port 1 198.51.100.1/25.
 */
#define NW_SENT 512u
#define NW_ROUTERS 2u /* neighbours that are always there */

struct nw {
	uint64_t now_ns, seed;
	struct qp_wheel *wheel;
	struct rte_mempool *pool;
	struct qp_net *net, *twin; /* twin: another lcore of the same host, or NULL */
	struct qp_net_config cfg;
	struct qp_nic_net conf;
	struct rte_mbuf *sent[NW_SENT]; /* not looked at yet, oldest first */
	uint8_t sent_port[NW_SENT];
	unsigned nsent;
	unsigned overflow;         /* sent and thrown away by a test that does not look */
	struct qp_net_info info;   /* of the last nw_in that went up */
};

extern const uint8_t nw_mac[2][6];  /* of the ports */
extern const uint8_t nw_peer[6], nw_other[6], nw_all[6];

/* `twin`: two lcores. The configuration is taken. */
struct nw *nw_new(bool twin);
/* All mbufs are back. */
void nw_free(struct nw *w);
/* What w->conf says now. */
void nw_configure(struct nw *w, bool fresh);
struct qp_ipaddr nw_addr(const char *text);
void nw_set_addr(struct nw *w, unsigned i, const char *addr, unsigned prefix, unsigned port);
void nw_set_route(struct nw *w, unsigned i, const char *dest, unsigned prefix, const char *via, unsigned port);
/* Fires timers on the way. */
void nw_advance_ms(struct nw *w, unsigned ms);

/* Bytes from hexadecimal text, blanks allowed; returns how many. */
unsigned nw_hex(const char *hex, uint8_t *out, unsigned room);
struct rte_mbuf *nw_frame(struct nw *w, const void *bytes, unsigned len);
/* Receives; true: it went up (freed then). */
bool nw_in(struct nw *w, unsigned port, const void *bytes, unsigned len);
bool nw_in_hex(struct nw *w, unsigned port, const char *hex);
/* Sends an UDP datagram of `len` payload bytes from `from`. */
void nw_out(struct nw *w, const char *from, const char *to, unsigned len, unsigned mark);

/* The next frame that was sent is exactly this, and by this port. */
void nw_expect_hex(struct nw *w, unsigned port, const char *hex);
/* The next frame; NULL: none. The caller frees it. `port` may be NULL. */
struct rte_mbuf *nw_take(struct nw *w, unsigned *port);
void nw_expect_none(struct nw *w);
void nw_forget(struct nw *w);

/* Neighbour 192.0.2.N and others, by ARP or NDP. */
enum qp_neigh_state nw_state(struct nw *w, const char *addr);
void nw_arp(struct nw *w, unsigned port, unsigned op, const uint8_t from[6], const char *sender,
	const uint8_t to[6], const char *target);

/*
 * Computes the ICMPv6 sum of an Ethernet frame with an IPv6 header and no
 * extension headers, puts it in, and receives the frame.
 */
bool nw_in_icmp6(struct nw *w, unsigned port, const char *hex);

#endif
