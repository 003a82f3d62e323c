/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NET_INTERNAL_H
#define QP_DATAPLANE_NET_INTERNAL_H

#include <rte_ether.h>
#include <rte_mbuf.h>
#include <sys/queue.h>

#include "dataplane/bucket.h"
#include "dataplane/net/net.h"
#include "dataplane/timer.h"

#define QP_NET_SEC_NS       UINT64_C(1000000000)
#define QP_NET_MAX_OWN      (QP_NIC_MAX_ADDRS + QP_NIC_MAX_PORTS) /* with a link-local one a port */
#define QP_NET_MAX_ROUTERS  4u
#define QP_NET_MAX_ROUTES   (QP_NIC_MAX_ROUTES + QP_NET_MAX_OWN + QP_NET_MAX_ROUTERS)
#define QP_NET_DESTS        2048u  /* destinations remembered; a power of two */
#define QP_NET_HELD         3u     /* frames of a neighbour that wait */
#define QP_NET_NO_PORT      0xffu
#define QP_NET_V6_MIN_MTU   1280u
#define QP_NET_ETHER_BYTES  14u
#define QP_NET_ERROR_TOKENS 16u    /* that an ICMP error costs at least */
#define QP_NET_FRAME_BYTES  60u    /* the shortest, without its checksum */

#define QP_NET_COUNT(net, field) ((net)->counters.field++)

enum qp_own_state {
	QP_OWN_VALID,
	QP_OWN_TENTATIVE, /* asked for, not used yet */
	QP_OWN_DUPLICATE, /* another host has it: not used */
};

struct qp_net_own {
	struct qp_ipaddr addr;
	uint8_t prefix;  /* of the mapped form */
	uint8_t port;
	uint8_t index;   /* in struct qp_nic_net's addr[], QP_NET_NO_ADDR: link-local */
	uint8_t state;   /* enum qp_own_state */
	uint64_t checked_ns;  /* IPv6: until then somebody may say that it is his; 0: taken over */
	uint64_t defended_ns; /* IPv4: when we last said so to somebody who claims it; 0: never */
	uint64_t logged_ns;   /* … and when it was last in the log */
};

struct qp_net_route {
	struct qp_ipaddr dest, mask, via; /* via all zero: on the link */
	uint8_t prefix;
	uint8_t port;
	uint8_t metric; /* the smaller one counts; those by hand have 0 */
	const struct qp_net_neigh *router; /* `via`, pinned; NULL: on the link */
};

/* A router that advertises itself (RFC 4861, 6.3.4; RFC 4191). */
struct qp_net_router {
	struct qp_ipaddr addr;
	uint64_t until_ns; /* 0: free */
	uint8_t port;
	uint8_t metric;    /* 1 high, 2 medium, 3 low preference */
};

/* RFC 4861, 7.3.2; NONE: known, and nothing goes on. */
enum qp_neigh_state {
	QP_NEIGH_NONE,
	QP_NEIGH_INCOMPLETE,
	QP_NEIGH_REACHABLE,
	QP_NEIGH_STALE,
	QP_NEIGH_DELAY,
	QP_NEIGH_PROBE,
};

/*
 * A neighbour, of both families. Those that routes lead by are pinned; those
 * that have once answered a question of ours are proven: neither gives way to
 * one that merely says that it is there, or to one that never answers.
 */
struct qp_net_neigh {
	uint64_t usable_until_ns;  /* until then frames go to `mac` without a further look */
	uint64_t used_ns;          /* the last frame to it */
	struct qp_ipaddr addr;
	uint8_t mac[6];
	uint8_t port;
	uint8_t state;             /* enum qp_neigh_state */
	uint32_t id;               /* of this tenant of the slot; 0: free */
	uint8_t asked;             /* solicitations without an answer */
	bool pinned;
	bool proven;
	bool dead;                 /* a router that did not answer: others like it go first */
	uint8_t nheld;
	struct qp_net *net;
	struct qp_timer timer;
	struct rte_mbuf *held[QP_NET_HELD]; /* oldest first */
	TAILQ_ENTRY(qp_net_neigh) link;     /* unproven: by age; proven: as they were looked at; free */
	LIST_ENTRY(qp_net_neigh) bucket_link;
} __attribute__((aligned(64))); /* what each frame reads is in the first line */
TAILQ_HEAD(qp_neigh_queue, qp_net_neigh);
LIST_HEAD(qp_neigh_bucket, qp_net_neigh);

/* What a destination's route and neighbour were when last asked for. */
struct qp_net_dest {
	struct qp_ipaddr addr;
	uint32_t neigh;   /* slot */
	uint32_t id;      /* … and its tenant */
	uint32_t routes;  /* net->routes_id of then; 0: empty */
	uint32_t hint;    /* the port that the caller named */
};

struct qp_net {
	struct qp_net_env env;
	struct qp_net_config cfg;
	struct qp_net_counters counters;
	struct qp_net_port port[QP_NIC_MAX_PORTS];
	struct qp_nic_link link[QP_NIC_MAX_PORTS];
	unsigned nports;
	uint32_t seq;                      /* of the configuration that is in use; odd: none */
	struct qp_nic_net conf;            /* as it was taken */
	/* Own addresses and routes. */
	struct qp_net_own own[QP_NET_MAX_OWN];
	unsigned nown;
	/* qp_net_bit of each of ours, and of each IPv4 network's last address: most others stop here. */
	uint64_t own_bits, broadcast_bits;
	struct qp_net_route route[QP_NET_MAX_ROUTES]; /* longest prefix first */
	unsigned nroutes;
	struct qp_net_router router[QP_NET_MAX_ROUTERS];
	struct qp_timer router_timer;      /* when the first of them is over */
	uint16_t ra_mtu[QP_NIC_MAX_PORTS]; /* of IPv6 packets, as a router says; 0: none does */
	uint32_t routes_id;                /* changes with them; never 0 */
	/* Neighbours. */
	struct qp_net_neigh *neigh;        /* cfg.max_neighbours */
	struct qp_neigh_queue free, unproven, proven;
	unsigned nunproven;
	uint32_t next_id;
	struct qp_neigh_bucket *bucket;
	uint32_t bucket_mask;
	uint64_t key[2];
	struct qp_net_dest *dest;          /* QP_NET_DESTS */
	/* Limits. */
	struct qp_bucket solicits, heard, echoes, errors;
	struct qp_bucket copies[3];        /* enum qp_net_copy */
	/* Announcements. */
	struct qp_timer announce;
	uint8_t announced;                 /* seconds of it */
	struct qp_timer dad;               /* when tentative addresses become valid */
	struct qp_timer mld;               /* when a query is to be answered */
	uint32_t mld_ports;                /* … on these, a bit each */
};

/* own.c: whose addresses, and whether a source can be one. */
/* In any state; NULL: not ours. */
struct qp_net_own *qp_net_own_find(struct qp_net *net, const struct qp_ipaddr *addr);
/* Ours, and in use. */
const struct qp_net_own *qp_net_own_valid(const struct qp_net *net, const struct qp_ipaddr *addr);
/* Is `addr` in the network of one of the port's addresses? */
bool qp_net_on_link(const struct qp_net *net, unsigned port, const struct qp_ipaddr *addr);
/* An own address of that very port, in any state: another port's is not answered for. */
struct qp_net_own *qp_net_own_here(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr);
/*
 * The own address on a port (QP_NET_NO_PORT: on any) that `target` is spoken to
 * from best, RFC 6724, 5; NULL: there is none of that family.
 */
const struct qp_net_own *qp_net_own_for(const struct qp_net *net, unsigned port,
	const struct qp_ipaddr *target);
/* As configured, and link-local ones; what was there keeps its state. `fresh`: qp_net_poll_config. */
void qp_net_own_set(struct qp_net *net, bool fresh);
/* Another host has it: `mac`. A new one is given up, another one defended. Logged now and then. */
void qp_net_own_conflict(struct qp_net *net, struct qp_net_own *own, const uint8_t mac[6], bool copy);
/* Can nobody have it as his source? */
bool qp_net_martian(const struct qp_net *net, const struct qp_ipaddr *source);

/* route.c */
bool qp_net_prefix_match(const struct qp_ipaddr *a, const struct qp_ipaddr *b, unsigned prefix);
/* From the configuration and the routers that are known. */
void qp_net_routes_set(struct qp_net *net);
/* What was remembered of destinations does not hold any more. */
void qp_net_routes_changed(struct qp_net *net);
/*
 * NULL: none. `hint`: the port to prefer among equals, or QP_NET_NO_PORT. A router
 * that does not answer comes last among those of one prefix (RFC 4861, 6.3.6).
 */
const struct qp_net_route *qp_net_route_find(const struct qp_net *net, const struct qp_ipaddr *dest,
	unsigned hint);

/* neigh.c: the table. */
int qp_neigh_open(struct qp_net *net);
void qp_neigh_close(struct qp_net *net);
struct qp_net_neigh *qp_neigh_find(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr);
/* Finds or makes; NULL, and counted: beyond a limit. `limit`: what a new one costs. */
struct qp_net_neigh *qp_neigh_get(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr,
	struct qp_bucket *limit);
/* After routes or addresses have changed: pins the routers, forgets who is on no link. */
void qp_neigh_reconcile(struct qp_net *net);
/* Answered a question of ours. */
void qp_neigh_prove(struct qp_net_neigh *n);
void qp_neigh_remove(struct qp_net_neigh *n);

/* nud.c: what a neighbour's state is (RFC 4861, 7.3). */
/* Consumes the frame: to the neighbour now, later, or never. */
void qp_neigh_output(struct qp_net_neigh *n, struct rte_mbuf *m);
/* What the neighbour says of itself (RFC 4861, 7.2.5). */
void qp_neigh_told(struct qp_net_neigh *n, const uint8_t mac[6], bool solicited, bool override);
/* It may be another host, or elsewhere: to be asked before long. */
void qp_neigh_doubt(struct qp_net_neigh *n);
/* Drops what waits; counted. */
void qp_neigh_drop_held(struct qp_net_neigh *n);

/* arp.c */
void qp_arp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m, bool copy);
/* `mac` NULL: to all. */
void qp_arp_ask(struct qp_net *net, const struct qp_net_neigh *n, const uint8_t *mac);
void qp_arp_announce(struct qp_net *net, const struct qp_net_own *own, bool probe);

/* An IPv6 packet as far as it has been looked at. */
struct qp_net_v6 {
	struct qp_ipaddr source, dest;
	uint32_t end;    /* of the packet in the frame */
	uint16_t l4_off;
	uint16_t next_at; /* where the protocol of l4_off is named, from the IPv6 header on */
	uint8_t hop_limit;
};

/* ndp.c: ICMPv6 of the link: NS, NA, RA and MLD. Consumes. `copy`: from another lcore. */
bool qp_ndp_is(const struct rte_mbuf *m, uint16_t l4_off);
void qp_ndp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m, const struct qp_net_v6 *ip,
	bool copy);

/* A neighbour discovery message that is well-formed: checksum, hop limit, options. */
struct qp_ndp {
	const struct qp_net_v6 *ip;
	const uint8_t *icmp; /* from the type on */
	uint32_t len;
	bool multicast;      /* its destination is */
};
/* The first such option: a link-layer address, or an MTU behind 2 reserved bytes; NULL: none. */
const uint8_t *qp_ndp_option(const struct qp_ndp *nd, uint32_t from, uint8_t type);

/* ndp_send.c */
struct qp_ipaddr qp_ndp_solicited_node(const struct qp_ipaddr *addr);
/* `mac` NULL: to all whose address may be it. */
void qp_ndp_ask(struct qp_net *net, const struct qp_net_neigh *n, const uint8_t *mac);
/* Does somebody else have it (RFC 4862, 5.4.2)? */
void qp_ndp_probe(struct qp_net *net, const struct qp_net_own *own);
/* `to` NULL: to all; else `mac` is its. */
void qp_ndp_advertise(struct qp_net *net, const struct qp_net_own *own, const struct qp_ipaddr *to,
	const uint8_t *mac);
void qp_ndp_ask_routers(struct qp_net *net, unsigned port);
/*
 * An ICMPv6 frame on the link; `router_alert`: RFC 2711, as MLD has it. `icmp`:
 * the message with its sum 0. `mac` NULL: the group's.
 */
void qp_ndp_send(struct qp_net *net, unsigned port, const struct qp_ipaddr *from,
	const struct qp_ipaddr *to, const uint8_t *mac, const void *icmp, uint16_t len,
	bool router_alert);

/* ra.c */
void qp_ra_input(struct qp_net *net, unsigned port, const struct qp_ndp *nd);
/* The neighbour says that it is no router (any more). */
void qp_ra_no_router(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr);
bool qp_ra_known(const struct qp_net *net, unsigned port);
/* Of ports where nobody is to be heard any more. */
void qp_ra_reconcile(struct qp_net *net);

/* mld.c: RFC 3810; switches that look send us our neighbours' questions because of it. */
void qp_mld_report(struct qp_net *net, unsigned port);
void qp_mld_query(struct qp_net *net, unsigned port, const struct qp_ndp *nd);

/* icmp.c: echo and errors; checks sums itself. `own`: who answers. */
enum qp_net_verdict qp_icmp_input(struct qp_net *net, unsigned port, struct rte_mbuf *m,
	const struct qp_net_own *own);
/*
 * To the sender of a packet that qp_net_input admitted and qp_ip_parse has looked
 * at: no ICMP, not a piece. Borrows it. `param`: what the type has behind its sum.
 */
void qp_icmp_error(struct qp_net *net, unsigned port, const struct rte_mbuf *about, uint8_t type,
	uint8_t code, uint32_t param);

/* frame.c: own frames, and what every frame gets on its way out. */
/* An empty frame with an Ethernet header for `bytes` more; NULL, and counted: no mbuf. */
struct rte_mbuf *qp_net_frame(struct qp_net *net, unsigned port, const uint8_t dest[6],
	uint16_t ether_type_be);
/* Names the port that it should leave by, for qp_net_output. */
void qp_net_mark(uint8_t mac[6], unsigned port);
/* Tag, counters, transmit. The Ethernet header is complete. Consumes. */
void qp_net_send(struct qp_net *net, unsigned port, struct rte_mbuf *m);

/* Which copies share a limit. */
enum qp_net_copy {
	QP_NET_COPY_ANSWER,
	QP_NET_COPY_QUESTION,
	QP_NET_COPY_ROUTER,
};
/* Within limits, to the other lcores. Borrows. */
void qp_net_replicate(struct qp_net *net, unsigned port, const struct rte_mbuf *m,
	enum qp_net_copy kind);

/* One token, if there is one. */
static inline bool
qp_net_take(struct qp_net *net, struct qp_bucket *b)
{
	if (b->rate == 0)
		return true;
	(void)qp_bucket_refill(b, *net->env.now_ns);
	if (b->tokens <= 0)
		return false;
	b->tokens--;
	return true;
}

/* What qp_net_mtu says of a port that there is. */
static inline uint16_t
qp_net_link_mtu(const struct qp_net *net, unsigned port, bool v4)
{
	return v4 || net->ra_mtu[port] == 0 ? net->link[port].mtu : net->ra_mtu[port];
}

static inline void
qp_net_drop(struct rte_mbuf *m, uint64_t *counter)
{
	(*counter)++;
	rte_pktmbuf_free(m);
}

static inline uint64_t
qp_net_bit(const struct qp_ipaddr *a)
{
	return UINT64_C(1) << (a->b[15] & 63);
}

static inline bool
qp_ipaddr_is_zero(const struct qp_ipaddr *a)
{
	return a->q[0] == 0 && a->q[1] == 0;
}

static inline bool
qp_ipaddr_is_link_local(const struct qp_ipaddr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static inline bool
qp_ipaddr_is_zero_v4(const struct qp_ipaddr *a)
{
	return qp_ipaddr_is_v4(a) && a->w[3] == 0;
}

#endif
