/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_CLASSIFIER_H
#define QP_COMMON_CLASSIFIER_H

#include <linux/types.h>

/*
 * The layout of the eBPF classifier's maps, and of the marks that it leaves in
 * frames: shared by the program (dataplane/bpf/), the control plane, which
 * fills the maps, and the data plane, which reads the marks. No libc in here.
 *
 * A control plane goes on with the maps and filters of the release before or after
 * it, so maps keep their names, keys and values; what is new has a map of its own,
 * or is appended to QP_CLS_COUNTERS or to the program's constants. Filters that stand
 * keep the program that they were attached with.
 */
#define QP_CLS_MAX_WORKERS 16

/*
 * The interface alias of the data planes' TAP devices. It is set before the
 * device comes up, and tells every gateway to leave the device alone.
 */
#define QP_TAP_ALIAS "quicport host port"

/*
 * The Ethernet header of a frame that the classifier sends to a TAP:
 *   destination 02:72:00:QQ:MM:MM  queue of the TAP; MTU of the interface that it came in by
 *   source      02:71:II:II:II:II  index of that interface
 * all big-endian. A frame that the data plane writes has the latter as its
 * destination: it leaves by that interface, or, for lo's, goes to the host.
 */
#define QP_CLS_MARK_0     0x02
#define QP_CLS_MARK_LINK  0x71
#define QP_CLS_MARK_MTU   0x72
#define QP_CLS_LO_IFINDEX 1
#define QP_CLS_MTU_UNKNOWN 1500 /* of an interface that the control plane has not seen yet */

/*
 * The queues of a TAP. Who asks for something new is a stranger, and strangers
 * may come in any number: they fill queues of their own, so that neither kind
 * crowds out the other, or anybody who is known.
 */
enum qp_cls_queue {
	QP_CLS_QUEUE_FLOWS = 0, /* all that belongs to something, as far as one can see */
	QP_CLS_QUEUE_AGAIN,     /* strangers that come a second time, as an honest one does */
	QP_CLS_QUEUE_SYN,       /* TCP: SYN without ACK */
	QP_CLS_QUEUE_UNKNOWN,   /* QUIC whose connection id names no worker; ICMP errors */
	QP_CLS_NQUEUES,
};
#define QP_CLS_MARK_QUEUE_AT   3 /* where QQ stands in the frame */

/* IPv4 addresses are ::ffff:a.b.c.d everywhere; all zero means every address. */
struct qp_cls_addr {
	__be32 w[4];
};

/* Map `workers`: which TAP owns the connection ids of a worker; value: its ifindex. */
struct qp_cls_worker {
	__be32 server_id;
	__u8 lcore;
	__u8 pad[3];
};

/*
 * Map `active`, key 0: where new connections go. One value, replaced as a
 * whole, so that a packet never sees half of it.
 */
struct qp_cls_active {
	__u32 n; /* 0: nobody takes new connections */
	__u32 ifindex[QP_CLS_MAX_WORKERS];
};

/* Map `ports`: the forwarded ports. */
struct qp_cls_port {
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad;
	__be16 port;
};

struct qp_cls_port_owner {
	__u32 ifindex;           /* the TAP */
	struct qp_cls_addr addr; /* the only local address that it answers on */
};

/* Map `blocked`: whose packets to the gateway are dropped; longest prefix first. */
#define QP_CLS_MAX_BLOCKED 65536

struct qp_cls_network {
	__u32 prefix; /* bits, of the mapped form */
	struct qp_cls_addr addr;
};

/*
 * Map `local`: the host's own addresses, loopback ones excluded, and the last
 * ones that it lost: the kernel must not reset the gateway's connections to
 * them in the moment between their coming back and the control plane's hearing of it.
 */
struct qp_cls_local {
	__u32 ifindex; /* 0: it is lost */
	__u8 mac[6]; /* of that interface */
	__u8 pad[2];
};

/*
 * Map `ways`: the host's routes, for answers. With an interface in its key, a
 * network that a route leads to by it; with 0, the interface of the best route.
 * NO_WAY: none leads there, although one to a larger network does: IPv6's default
 * route is none for IPv4. Empty when the host has more of them than the map takes.
 */
#define QP_CLS_MAX_WAYS 16384
#define QP_CLS_NO_WAY   0

struct qp_cls_way {
	__u32 prefix; /* bits: 32 of the interface and those of the mapped form */
	__u32 ifindex;
	struct qp_cls_addr addr;
};

/* Map `counters`, per CPU. X(name, help); what ends in _pass stays the kernel's. */
#define QP_CLS_COUNTERS(X)                                                                         \
	X(quic_known, "QUIC packets sent to the worker that their connection id names")            \
	X(quic_new, "QUIC packets of unknown connections sent to the active generation")           \
	X(port, "packets to forwarded ports")                                                      \
	X(public_api, "packets to the public API port")                                            \
	X(icmp, "ICMP errors about the gateway's own packets")                                     \
	X(syn_queued, "of the packets sent to workers, TCP connection attempts")                   \
	X(again_queued, "of the packets sent to workers, second attempts of strangers")            \
	X(unknown_queued, "of the packets sent to workers, QUIC of no known connection and ICMP")  \
	X(other_pass, "packets that are not the gateway's")                                        \
	X(fragment, "IP fragments, beyond the first, of datagrams to forwarded UDP ports")         \
	X(fragment_pass, "IP fragments of what is not known to be the gateway's")                 \
	X(not_local_pass, "packets to such a port of another host or address")                     \
	X(spoofed_pass, "packets from outside that claim an address of this host")                 \
	X(no_worker_pass, "packets of the gateway's while no worker takes them")                   \
	X(blocked_drop, "packets of the gateway's from sources that are kept out")                   \
	X(nomem_drop, "packets of the gateway's dropped for want of kernel memory")                \
	X(answer_out, "frames of the data plane that left by an interface")                        \
	X(answer_host, "frames of the data plane to the host itself")                              \
	X(answer_drop, "frames of the data plane that lead nowhere")                               \
	X(answer_other, "of the frames that left, those by another interface than the request's") \
	X(gone_drop, "segments of the gateway's connections to an address that the host lost")

enum qp_cls_counter {
#define X(name, help) QP_CLS_##name,
	QP_CLS_COUNTERS(X)
#undef X
	QP_CLS_NCOUNTERS
};

#endif
