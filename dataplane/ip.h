/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_IP_H
#define QP_DATAPLANE_IP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/counters.h"

struct rte_mbuf;

/*
 * Ethernet, IPv4 and IPv6: frames in and out, in DPDK's mbuf terms.
 * Everything here is pure (no state, no port), for any lcore.
 */

/* An address of either family; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). Network order. */
struct qp_ipaddr {
	union {
		uint8_t b[16];
		uint32_t w[4];
		uint64_t q[2];
	};
};

static inline bool
qp_ipaddr_is_v4(const struct qp_ipaddr *a)
{
	return a->q[0] == 0 && a->w[2] == htonl(0xffff);
}

static inline struct qp_ipaddr
qp_ipaddr_v4(uint32_t addr_be)
{
	return (struct qp_ipaddr) {.w = {0, 0, htonl(0xffff), addr_be}};
}

static inline bool
qp_ipaddr_equal(const struct qp_ipaddr *a, const struct qp_ipaddr *b)
{
	return a->q[0] == b->q[0] && a->q[1] == b->q[1];
}

/* To and from the sockets' form; the port is in network order on both sides. */
void qp_ipaddr_to_sockaddr(const struct qp_ipaddr *a, uint16_t port_be, struct sockaddr_storage *ss,
	socklen_t *len);
/* QP_E_INVAL for a family that is neither AF_INET nor AF_INET6. */
int qp_ipaddr_from_sockaddr(const struct sockaddr *sa, struct qp_ipaddr *a, uint16_t *port_be);

/*
 * Where an answer goes at the link layer: the MAC address that the request
 * came from. In host mode the classifier writes the index of the interface
 * that a frame came in by into it, and sends the answer out there; and that
 * interface's MTU into the destination (common/classifier.h).
 */
struct qp_l2 {
	uint8_t peer_mac[6];
	uint16_t mtu;      /* of the interface that the request came in by; 0: the port's own */
};

/* One conversation as this end sees it. Ports in network order. */
struct qp_flow {
	struct qp_ipaddr local;
	struct qp_ipaddr remote;
	uint16_t lport_be;
	uint16_t rport_be;
	struct qp_l2 l2;
};

/* The same addresses and ports, whatever the link layer says. */
static inline bool
qp_flow_same_ends(const struct qp_flow *a, const struct qp_flow *b)
{
	return a->rport_be == b->rport_be && a->lport_be == b->lport_be &&
	       qp_ipaddr_equal(&a->remote, &b->remote) && qp_ipaddr_equal(&a->local, &b->local);
}

/* What qp_ip_parse found in a received frame. Offsets from the start of mbuf data. */
struct qp_packet {
	struct qp_flow flow;   /* local = destination, remote = source; ports 0 for ICMP */
	uint16_t l3_off;       /* IP header */
	uint16_t l4_off;       /* transport header, after options and extension headers */
	uint32_t l4_len;       /* bytes of transport header and payload, by the IP header */
	uint16_t segsz;        /* payload bytes a wire packet when the frame is a super-segment, else 0 */
	uint8_t proto;         /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_ICMPV6 */
	uint8_t tos;           /* DS field and ECN bits */
	uint8_t ttl;           /* TTL or hop limit */
};

enum qp_ip_verdict {
	QP_IP_OK = 0,
#define X(name, text) name,
	QP_IP_DROPS(X)
#undef X
	QP_IP_VERDICTS
};

const char *qp_ip_verdict_text(enum qp_ip_verdict v);

/*
 * Parses and verifies a received frame (chained or not; borrows it). The first
 * mbuf holds all headers after QP_IP_OK. Checksums are always verified: by the
 * port where RTE_MBUF_F_RX_{IP,L4}_CKSUM_GOOD (or L4_CKSUM_NONE) says so, else
 * here in software.
 * Trailing padding beyond the IP length is cut off the mbuf.
 */
enum qp_ip_verdict qp_ip_parse(struct rte_mbuf *m, struct qp_packet *pkt);

/*
 * Puts IP and Ethernet headers before a transport header and payload. `m`:
 * data starts at the transport header, which is complete but for its checksum;
 * m->l4_len is set (8 for UDP, data offset for TCP); m->tso_segsz and
 * RTE_MBUF_F_TX_TCP_SEG / RTE_MBUF_F_TX_UDP_SEG are set by the caller for a
 * super-segment. Sets l2_len, l3_len, checksum offload flags and the
 * pseudo-header checksum as DPDK's ethdev API wants them. Needs
 * QP_L3_HEADROOM bytes of headroom. `own_mac` is the port's.
 */
#define QP_L3_HEADROOM (14 + 4 + 40)
void qp_ip_encap(struct rte_mbuf *m, const struct qp_flow *flow, uint8_t proto, uint8_t tos,
	const uint8_t own_mac[6]);

/* RFC 1071 sum over a chain's bytes [off, off+len), folded, not inverted. */
uint16_t qp_cksum_chain(const struct rte_mbuf *m, uint32_t off, uint32_t len);

#endif
