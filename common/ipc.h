/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_IPC_H
#define QP_COMMON_IPC_H

#include <stddef.h>
#include <stdint.h>

#include "common/counters.h"

/*
 * What control plane and data plane say to each other: fixed-size messages by
 * value over rte_ring (element size sizeof(struct qp_msg)), one single-producer
 * single-consumer pair for each worker of a generation, made fresh by each
 * generation; and a block of shared memory with one writer for each field.
 * Ids, never pointers. Plain structs, no DPDK in here: both sides' layout is
 * asserted below.
 *
 * Rendezvous: the control plane listens on the Unix SOCK_SEQPACKET socket
 * QP_RUN_DIR "/INSTANCE/control.sock". A data plane connects and sends struct
 * qp_attach (SCM_RIGHTS: one eventfd for each worker, its doorbell; one that
 * runs already adds its lifeline); it gets struct qp_attach_reply (SCM_RIGHTS:
 * the control plane's doorbell eventfd and the write end of the lifeline pipe),
 * makes the memzone and the rings in it, and sends struct qp_attach_ready. From
 * then on the socket only tells, by its end, that the other side is gone. The
 * port owner ends when no process holds the lifeline's write end any more.
 *
 * A data plane whose control plane is gone goes on, and connects again until
 * one is there: "I am server_id N, running". Each attachment has an epoch of
 * its own and fresh rings: those that somebody was killed at are never used
 * again. The control plane then sends CONFIG (of a worker that runs already
 * only the HELLO comes back) and REPLAY.
 *
 * Versions. A release speaks QP_IPC_VERSION and the one before it. Where a
 * message of the rendezvous or the block has a `version`, that is the oldest
 * that its writer understands, and `newest` stands among what came later: a
 * reader that knows no range takes the first for the only one. A pair speaks
 * the lower of both newest ones, which the reply names and each ring message
 * carries; it has none in common: refused, and the data plane runs on.
 * What may change from one version to the next:
 * - a new message type is appended to enum qp_msg_type; it is not sent to a peer
 *   that speaks less than qp_msg_since() says, and who gets one that it does not
 *   know ignores and counts it; one that only answers a field needs no version,
 *   since who does not know the one does not ask for the other;
 * - a new field is appended to its message or takes bytes that were zero before,
 *   and zero means "does as before". A message of the rendezvous may be longer
 *   than its reader expects (the rest is not looked at) or shorter (zeros);
 * - a counter has a name in the block and no fixed place (common/shared.h);
 * - rings, workers' parts and names are found by the offsets and sizes that the
 *   block tells. What struct qp_gen_shared has stays where it is; what comes new
 *   takes its spare bytes.
 * 3: rings behind struct qp_gen_shared, counters at fixed places before them.
 * 4: the range in qp_attach, qp_attach_reply and the block; struct qp_shared_map.
 */
#define QP_IPC_VERSION (4u + QP_IPC_AHEAD)
#define QP_IPC_OLDEST (QP_IPC_VERSION - 1u)
/*
 * tests/release builds programs of releases to come: so many versions ahead, with
 * a message type and a counter more (QP_MSG_AHEAD, "ahead_messages"). Only
 * ipc_version.c, shared.c, ctl.c and dp_link.c may depend on it.
 */
#ifndef QP_IPC_AHEAD
#define QP_IPC_AHEAD 0u
#endif
#define QP_RUN_DIR "/run/quicport"
#define QP_ATTACH_MAGIC 0x51504154u /* "QPAT" */
#define QP_MAX_WORKERS 16u
#define QP_RING_MESSAGES 1024u

/* rte_memzone's name; the argument is the server id. The rings are in it, see qp_ring_at. */
#define QP_SHARED_NAME "qp_gen_%u"
/* A zone for each worker, server id and number: its mempools, which have names, too. */
#define QP_WORKER_MEMORY_NAME "qp_mem_%u_%u"
#define QP_POOL_NAME "qp_mb_%u_%u"
#define QP_INDIRECT_NAME "qp_in_%u_%u"

struct qp_attach {
	uint32_t magic;
	uint32_t version;    /* the oldest that it speaks */
	int32_t pid;
	uint32_t nworkers;   /* 1 … QP_MAX_WORKERS, and as many eventfds */
	uint32_t server_id;  /* 0: it starts; else it runs, and sends its lifeline as well */
	uint32_t epoch;      /* of this attachment: which rings are meant; the first is 0 */
	uint32_t lcore_base; /* EAL's lcore id of its main thread; 0: unknown */
	uint32_t newest;     /* since 4: the newest that it speaks; 0: `version` is the only one */
};

struct qp_attach_reply {
	uint32_t magic;
	uint32_t version;    /* that both speak from now on; in a refusal, what is nearest to it */
	uint32_t server_id;  /* 1 … 65535: names the generation; 0: refused, `why` says it */
	char why[244];
	uint32_t oldest;     /* since 4: that the control plane speaks, for the log; 0: `version` */
	uint32_t newest;
};

struct qp_attach_ready {
	uint32_t magic;
	uint32_t ok;         /* 1; 0: could not make the memory, `why` says it */
	char why[244];
};

/*
 * A port owner that a service manager starts (quicport-port-owner --listen-fd) has a
 * SOCK_SEQPACKET socket. A control plane connects and sends struct qp_owner_request; when the
 * memory is there it gets struct qp_owner_reply (SCM_RIGHTS: the lifeline's write end). The first
 * request says whose memory it is; a later one, of a control plane that was restarted, gets the
 * same answer. From then on the connection only tells, by its end, that the port owner is gone.
 *
 * A port owner outlives many releases of the others. So both its protocols only grow: fields are
 * appended, and zero in what is shorter; what is longer is read as far as it is known; a question
 * that it does not know is answered so. `version` is the oldest whose readers understand the
 * message, and changes only when that cannot be kept: then the port owner has to be replaced.
 */
#define QP_OWNER_MAGIC 0x51504f57u /* "QPOW" */
#define QP_OWNER_VERSION 1u

#define QP_OWNER_MAX_PORTS 8u /* QP_NIC_MAX_PORTS */

/* A dedicated port, as options say it. */
struct qp_owner_port {
	char devargs[256];   /* --port: "PCI-ADDRESS[,ARGS]" or "net_DRIVERn[,ARGS]" */
	uint16_t mtu;        /* --mtu; 0: what the device has by itself */
	uint16_t vlan;       /* --vlan; 0: untagged */
};

/* Nic mode; all zero: there is none. */
struct qp_owner_ports {
	uint32_t n;
	uint32_t queues;     /* receive queues of each port, for as many workers; 0: 1 */
	uint32_t slots;      /* generations that can send at once; 0: QP_NIC_MAX_GENS */
	uint32_t mbufs;      /* packet buffers of each receive queue; 0: the default */
	struct qp_owner_port port[QP_OWNER_MAX_PORTS];
};

struct qp_owner_request {
	uint32_t magic;
	uint32_t version;    /* QP_OWNER_VERSION */
	uint32_t memory_mib;
	char instance[32];
	struct qp_owner_ports ports; /* who has none from the first request on never gets any */
};

struct qp_owner_reply {
	uint32_t magic;
	uint32_t version;
	int32_t pid;
	uint32_t ok;         /* 1; 0: `why` says why not, and there is no descriptor */
	char why[240];
};

/* What version 1 has. */
#define QP_OWNER_REQUEST_MIN 44u
#define QP_OWNER_REPLY_MIN   256u
_Static_assert(sizeof(struct qp_owner_request) >= QP_OWNER_REQUEST_MIN, "it only grows");
_Static_assert(sizeof(struct qp_owner_reply) >= QP_OWNER_REPLY_MIN, "it only grows");

/*
 * The port owner's other socket (SOCK_SEQPACKET), owner.sock in EAL's runtime folder, for control
 * planes and data planes: struct qp_owner_ask, each answered by struct qp_owner_told, in order.
 * A connection is its process: what it has begun and what it holds ends with it, so each keeps it
 * for life.
 *
 * A process that starts EAL takes locks in shared memory, and may be killed with them. So it asks
 * first (BEGIN) and tells when it is there (ATTACHED): one at a time, meanwhile the port owner
 * takes none of them itself, and frees what one that has died has left. Afterwards nobody but the
 * port owner touches a shared lock: data planes get zones from it for all that is theirs (RESERVE).
 */
#define QP_OWNER_LINK_MAGIC 0x51504f4cu /* "QPOL" */
#define QP_OWNER_LINK_VERSION 1u
#define QP_OWNER_LINK_SOCKET "owner.sock"
#define QP_OWNER_LINK_IDS 16u

enum qp_owner_ask_type {
	QP_OWNER_BEGIN = 1, /* answered when it is the asker's turn */
	QP_OWNER_ATTACHED,
	QP_OWNER_RESERVE,   /* a zone of `bytes` for the data plane `server_id`, which is the asker */
	QP_OWNER_FIND,      /* where a zone is, by its name */
	QP_OWNER_RECLAIM,   /* `server_id` is dead: refused when it is not; `n` zones were freed */
	QP_OWNER_MEMORY,    /* `bytes` that `server_id` has, `left` for others */
	QP_OWNER_LIST,      /* `n` generations that have memory, dead or not */
};

struct qp_owner_ask {
	uint32_t magic;
	uint32_t version;    /* QP_OWNER_LINK_VERSION */
	uint32_t type;       /* enum qp_owner_ask_type */
	uint32_t server_id;
	uint64_t bytes;
	char name[32];       /* of the zone; has "_SERVERID" in it */
	uint32_t node;       /* RESERVE: 1 + the NUMA node where it should be; 0: any */
};

struct qp_owner_told {
	uint32_t magic;
	uint32_t version;
	uint32_t type;       /* the question's */
	uint32_t ok;         /* 1; 0: `why` says why not */
	uint64_t address;    /* the same in all processes */
	uint64_t bytes;
	uint64_t left;
	uint32_t n;
	uint32_t id[QP_OWNER_LINK_IDS];
	char why[196];
};

#define QP_OWNER_ASK_MIN  56u
#define QP_OWNER_TOLD_MIN 304u
_Static_assert(sizeof(struct qp_owner_ask) >= QP_OWNER_ASK_MIN, "it only grows");
_Static_assert(sizeof(struct qp_owner_told) >= QP_OWNER_TOLD_MIN, "it only grows");

enum qp_dp_state {
	QP_DP_STARTING = 1,
	QP_DP_ACTIVE = 2,
	QP_DP_DRAINING = 3,
	QP_DP_TERMINATED = 4,
};

/*
 * A worker's counters. Writer: that worker's lcore. Readers: anybody, relaxed
 * loads. X(field, help). The names become metrics: quicport_<field>.
 */
#define QP_WORKER_COUNTERS(X)                                                                      \
	X(loops, "worker loop turns")                                                              \
	X(sleeps, "times the worker slept")                                                        \
	X(cycles_busy, "TSC cycles in turns that did work")                                        \
	X(cycles_idle, "TSC cycles in turns that found nothing, sleep excluded")                   \
	X(rx_frames, "frames received, super-segments counted once")                               \
	X(rx_bytes, "bytes received")                                                              \
	X(rx_bursts, "receive bursts that brought a frame")                                        \
	X(tx_bursts, "transmit bursts")                                                            \
	X(tx_frames, "frames sent, super-segments counted once")                                   \
	X(tx_bytes, "bytes sent")                                                                  \
	X(rx_nombuf, "receive attempts without a free mbuf")                                       \
	X(rx_again, "of the frames received, second attempts of strangers")                        \
	X(rx_syns, "of the frames received, TCP connection attempts")                              \
	X(rx_unknown, "of the frames received, QUIC of no known connection and ICMP")              \
	X(strangers_held, "times that strangers had used up their share of the worker's time")     \
	X(tx_dropped, "frames that the port did not take")                                         \
	X(mbufs_in_use, "mbufs in use now")                                                        \
	X(mbufs_total, "mbufs of the worker's pools")                                              \
	X(quic_packets_in, "QUIC packets received")                                                \
	X(quic_packets_out, "QUIC packets sent")                                                   \
	X(quic_handshakes, "QUIC handshakes completed")                                            \
	X(quic_handshakes_failed, "QUIC handshakes that failed or timed out")                      \
	X(quic_connections, "QUIC connections now")                                                \
	X(quic_retries_sent, "Retry packets sent")                                                 \
	X(quic_version_negotiations, "Version Negotiation packets sent")                           \
	X(quic_stateless_resets, "stateless resets sent")                                          \
	X(quic_migrations, "paths validated after a client changed its address")                  \
	X(quic_packets_lost, "QUIC packets declared lost")                                         \
	X(tunnels_active, "authenticated tunnels now")                                             \
	X(tunnels_total, "tunnels authenticated since start")                                      \
	X(conns_active, "relayed connections now")                                                 \
	X(conns_total, "relayed connections since start")                                          \
	X(conns_refused, "outside connections refused or reset by us")                             \
	X(client_conns_refused, "outside connections beyond what their client may have at once")     \
	X(client_rate_refused, "outside connections beyond what their client may have in a second")  \
	X(client_sources_refused, "outside connections from networks that their client does not serve") \
	X(client_waits, "times a connection's bytes waited for their client's bandwidth")           \
	X(local_conns_total, "connections that clients asked for by local forwards")                \
	X(local_conns_failed, "of those, connections whose destination was not reached")            \
	X(local_conns_refused, "of those, connections beyond a limit of ours")                      \
	X(local_conns_unpaired, "local connections without announcement, stream or whole id")       \
	X(relay_bytes_in, "payload bytes outside to tunnel")                                       \
	X(relay_bytes_out, "payload bytes tunnel to outside")                                      \
	X(relay_queued_bytes, "payload bytes queued in relays now")                                \
	X(relay_stalls, "times a relay stopped reading for want of room")                          \
	X(ended_conns_untold, "ended connections that the audit log lacks: the control plane was away") \
	X(ctl_ring_full, "messages delayed because a ring to the control plane was full")          \
	X(drop_not_ours, "datagrams for no connection of ours")                                    \
	X(drop_quic_bad, "datagrams that are not QUIC")                                            \
	X(drop_quic_no_memory, "datagrams with payload dropped while mbufs were scarce")            \
	X(drop_quic_limit, "connection attempts beyond a limit")                                   \
	X(drop_ip, "frames dropped by the IP layer; drops by reason beside it")                    \
	X(heap_bytes, "bytes that the process has from malloc now; its first worker tells")        \
	X(heap_failures, "times that malloc had none; its first worker tells")                     \
	X(drop_quic_budget, "clients' connection attempts refused: the heap budget is reached")    \
	X(conns_refused_budget, "connections refused because the heap budget is reached")              \
	X(ctl_unknown, "messages ignored: the control plane's release has them, this one has not") \
	X(ctl_unspoken, "messages not sent: the control plane's release has none such")

struct qp_worker_counters {
#define X(field, help) uint64_t field;
	QP_WORKER_COUNTERS(X)
#undef X
};

/*
 * Room for counters of modules that name their own (IP drops, TCP): an array
 * of values in the order of the module's X-macro list.
 */
#define QP_SHARED_TCP_COUNTERS 80u
#define QP_SHARED_UDP_COUNTERS 48u
#define QP_SHARED_IP_DROPS 16u
#define QP_SHARED_NET_COUNTERS 64u
#define QP_SHARED_NIC_COUNTERS 48u

/*
 * Round-trip times. Bucket i counts those of less than 2^i * 64 µs that are in
 * no bucket before it; the last counts the rest. What the sums of a histogram
 * in Prometheus's sense are made of.
 */
#define QP_RTT_BUCKETS 17u
#define QP_RTT_FIRST_US 64u

struct qp_rtt_histogram {
	uint64_t bucket[QP_RTT_BUCKETS];
	uint64_t sum_us;
};

/* A thread that sleeps shows at least so often that it lives. */
#define QP_BEAT_MS 250u

/* Its words have names in the block, see common/shared.h: a new one goes there as well. */
struct qp_worker_shared {
	struct qp_worker_counters c;
	uint64_t tcp[QP_SHARED_TCP_COUNTERS]; /* QP_TCP_COUNTERS order */
	uint64_t udp[QP_SHARED_UDP_COUNTERS]; /* QP_UDP_COUNTERS order */
	uint64_t ip_drops[QP_SHARED_IP_DROPS]; /* QP_IP_DROPS order */
	uint64_t net[QP_SHARED_NET_COUNTERS]; /* QP_NET_COUNTERS order; nic mode */
	uint64_t nic[QP_SHARED_NIC_COUNTERS]; /* QP_NIC_COUNTERS order; likewise */
	struct qp_rtt_histogram tcp_rtt;       /* each sample of RFC 6298 */
	struct qp_rtt_histogram quic_rtt;      /* of the tunnels, smoothed, one after the other */
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct qp_worker_shared) % 64 == 0, "workers' counters share no line");

/* What has the same place in all versions. Writer: the worker. */
struct qp_worker_door {
	uint8_t of_3[1856];                   /* 3: the worker's counters; 0 since 4 */
	/* CLOCK_MONOTONIC at the last loop turn; a sleep is no longer than QP_BEAT_MS, then there is a turn. */
	uint64_t heartbeat_ns;
	/*
	 * Store by the worker before it sleeps, load by the control plane after it
	 * has enqueued (both seq_cst): 1 = ring the doorbell. Pairs with qp_ctl.
	 */
	uint32_t c2d_sleeping;
	/* Since 4. */
	uint32_t tid;                         /* of its thread, for the kernel's account of it; 0: not told */
	uint8_t spare[48];                    /* zero: for new fields */
} __attribute__((aligned(64)));

/*
 * Owner: the data plane of that generation writes all but what is said below.
 * Life: from its start until the control plane or a successor frees the zone
 * after its death. Lock: none; one writer a field. Behind it are the rings, and
 * behind those what `map_at` leads to.
 */
struct qp_gen_shared {
	uint32_t version;      /* the oldest that it is written for */
	uint32_t server_id;
	int32_t pid;
	uint32_t nworkers;
	uint32_t state;        /* enum qp_dp_state */
	uint32_t layout;       /* 3: a hash of the counters' names; 0 since 4 */
	uint64_t started_at;   /* Unix time, seconds */
	uint32_t ring_bytes;   /* of each ring */
	uint32_t orphan_timeout_s; /* as CONFIG says; 0: for ever */
	uint64_t main_heartbeat_ns; /* since 4: of the main thread, as a worker's; 0: not told */
	uint32_t newest;       /* since 4 */
	uint32_t map_at;       /* since 4: struct qp_shared_map, from the block's start */
	/*
	 * Nic mode's hand-off rings (struct qp_nic_gen): from the block's start in
	 * lines of 64 bytes, and the bytes of each. Told before qp_attach_ready; 0:
	 * there are none.
	 */
	uint32_t handoff_at;
	uint32_t handoff_bytes;
	/* Written by the control plane: 1 = it sleeps on its doorbell. Seq_cst as above. */
	uint32_t d2c_sleeping __attribute__((aligned(64)));
	uint32_t pad;
	uint64_t draining_since_ns; /* since 4, by the control plane: CLOCK_MONOTONIC at DRAIN; 0: not told */
	uint8_t spare_control[48]; /* zero: for new fields that the control plane writes */
	struct qp_worker_door door[QP_MAX_WORKERS];
};

/* A reader of 3 computes with these. */
_Static_assert(sizeof(struct qp_worker_door) == 1920, "a door's place is fixed");
_Static_assert(sizeof(struct qp_gen_shared) == 30848, "3 has its rings here");
_Static_assert(offsetof(struct qp_gen_shared, d2c_sleeping) == 64, "a fixed place");
_Static_assert(offsetof(struct qp_worker_door, c2d_sleeping) == 1864, "a fixed place");

/* Since 4: where everything else is. Offsets are from the block's start, in bytes. */
struct qp_shared_map {
	uint32_t map_bytes;     /* of this struct: the names follow; a later version's is longer */
	uint32_t rings_at;
	uint32_t ring_messages; /* slots of a ring; one stays free */
	uint32_t msg_bytes;     /* of a slot */
	uint32_t workers_at;    /* the workers' counters, one part after the other */
	uint32_t worker_bytes;  /* of a part */
	uint32_t name_bytes;    /* of each struct qp_shared_name */
	uint32_t nnames;
};

enum {
	QP_SHARED_GAUGE = 1, /* it can fall */
};

/* One counter, or several in a row, of each worker. */
struct qp_shared_name {
	char name[40];   /* with its NUL: "loops", "tcp_segs_in", "ip_short", … */
	uint32_t at;     /* in the worker's part, bytes */
	uint16_t n;      /* uint64_t's */
	uint16_t flags;  /* QP_SHARED_GAUGE */
};

_Static_assert(sizeof(struct qp_shared_name) == 48, "4 has names of this size");

/*
 * Where a ring is, from the first one. Two sets of pairs take turns, so that one
 * is at rest while the other is in use; they are set up in place, which takes
 * none of the locks that a killed process may hold.
 */
static inline uint64_t
qp_ring_at(uint32_t nworkers, uint32_t ring_bytes, uint32_t epoch, uint32_t worker, int to_cp)
{
	uint64_t index = ((uint64_t)(epoch & 1) * nworkers + worker) * 2 + (to_cp != 0);

	return index * ring_bytes;
}

enum qp_msg_type {
	QP_MSG_CONFIG = 1,      /* c2d, first message to each worker */
	QP_MSG_HELLO,           /* d2c: the worker's port is up */
	QP_MSG_AUTH_BEGIN,      /* d2c: a client's first authentication bytes */
	QP_MSG_AUTH_REPLY,      /* c2d: bytes for the client */
	QP_MSG_AUTH_FINISH,     /* d2c: the client's last bytes */
	QP_MSG_VERDICT,         /* c2d: accepted or not (may come instead of AUTH_REPLY) */
	QP_MSG_FORWARD_REQUEST, /* d2c */
	QP_MSG_FORWARD_GRANT,   /* c2d: the port is reserved and steered to the worker */
	QP_MSG_FORWARD_DENY,    /* c2d */
	QP_MSG_FORWARD_CLOSED,  /* d2c: the tunnel gave the port back */
	QP_MSG_LOCAL_REQUEST,   /* d2c: where a local forward leads; again when its name grows old */
	QP_MSG_LOCAL_GRANT,     /* c2d: resolved, allowed, routed */
	QP_MSG_LOCAL_DENY,      /* c2d: a struct qp_msg_forward_answer */
	QP_MSG_TUNNEL_CLOSED,   /* d2c: forget all about the tunnel, its ports included */
	QP_MSG_API_OPEN,        /* d2c: a connection to the public API port */
	QP_MSG_API_DATA,        /* both */
	QP_MSG_API_CLOSE,       /* both */
	QP_MSG_DRAIN,           /* c2d */
	QP_MSG_SHUTDOWN,        /* c2d: close all tunnels politely, then end */
	QP_MSG_CLIENT_LIMITS,   /* c2d: what a client may use; before its first VERDICT, and when it changes */
	QP_MSG_CLIENT_SOURCES,  /* c2d: which outside users may reach it; after its CLIENT_LIMITS */
	QP_MSG_CLIENT_FORGET,   /* c2d: no tunnel of the client is left here */
	QP_MSG_TUNNEL_CLOSE,    /* c2d: end it (revoked, kicked, replaced, expired) */
	QP_MSG_CONN_CLOSE,      /* c2d: reset one outside connection of the tunnel `id` */
	QP_MSG_CONN_CLOSED,     /* d2c: how it was, when CONFIG.audit_conns asks for it */
	QP_MSG_LIST_TUNNELS,    /* c2d: from `cursor` on; answered by TUNNEL_ROWS */
	QP_MSG_TUNNEL_ROWS,     /* d2c */
	QP_MSG_LIST_CONNS,      /* c2d: of the tunnel `id` (0: of all), from `cursor` on */
	QP_MSG_CONN_ROWS,       /* d2c */
	QP_MSG_REPLAY,          /* c2d: to a data plane that was adopted: tell all tunnels */
	QP_MSG_TUNNEL_STATE,    /* d2c: one tunnel, for a control plane that does not know it */
	QP_MSG_REPLAY_END,      /* d2c: that were all */
	QP_MSG_LOG_LEVELS,      /* c2d: to the first worker, for its whole process */
	/* Above: 3. Since 4: */
	QP_MSG_BUDGET,          /* c2d: to the first worker, for its whole process; after a CONFIG (none: no limit), and when it changes */
	QP_MSG_RETIRE,          /* c2d: to each worker that drains: its tunnels are to leave, in good order */
	QP_MSG_FORWARD_LISTENS, /* d2c: FORWARD_GRANT said listen_only, and so it is; to nobody who did not say that */
	QP_MSG_FAREWELLS,       /* c2d, nic mode: stateless resets to clients of a dead data plane, to be sent in its name */
	/* New types are appended here. */
#if QP_IPC_AHEAD > 0
	QP_MSG_AHEAD,           /* both, behind CONFIG and HELLO */
#endif
	QP_MSG_NTYPES,          /* not a message */
};

/* The first version that has this type: a peer that speaks less is not sent one. */
static inline uint32_t
qp_msg_since(uint32_t type)
{
	return type <= QP_MSG_LOG_LEVELS ? 3u : 4u;
}

/* How a public API connection's direction ends (API_CLOSE.how). */
enum qp_api_close {
	QP_API_FIN = 0,   /* the sender sends no more */
	QP_API_RESET = 1, /* both directions are gone */
};

#define QP_MSG_BYTES 512u
#define QP_MSG_API_BYTES 480u
#define QP_MSG_DESTINATION_BYTES 320u /* a name of 253 bytes and more */

/* What the operator says of the data plane's TCP (--tcp-*). */
struct qp_msg_tcp {
	uint8_t congestion; /* 0 CUBIC, 1 BBR */
	uint8_t pacing;     /* 1: CUBIC is paced too; BBR always is */
	uint8_t ecn;        /* 0 off, 1 when the peer asks, 2 ask as well */
	uint8_t fast_open;  /* 1: data in a SYN is taken with a valid cookie (RFC 7413) */
	uint32_t buffer_kib; /* receive and send buffer a connection at most, each */
	uint32_t max_conns;  /* of a worker, all states */
	uint32_t keepalive_s; /* 0: off */
	uint32_t user_timeout_s; /* 0: RFC 9293's R2 */
	uint32_t zero_window_s;  /* a peer that takes nothing for so long is reset; 0: never */
	uint32_t max_conns_per_source; /* 0: no limit */
};

/* … and of UDP forwards (--udp-*). */
struct qp_msg_udp {
	uint32_t idle_timeout_s;
	uint32_t max_flows;            /* of a worker: its share of the limit in all */
	uint32_t max_flows_per_tunnel;
};

struct qp_msg_config {
	uint8_t data_plane_addr[16]; /* v4-mapped; all zero: every address */
	uint16_t data_plane_port_be;
	uint16_t public_port_be;     /* 0: no public API */
	uint32_t keep_alive_s;       /* 0: off */
	uint32_t idle_timeout_s;
	uint32_t orphan_timeout_s;   /* without control plane and tunnels for so long: ends; 0: never */
	uint32_t name_hash;          /* the instance's, for interface names */
	uint8_t reset_key[32];       /* derives stateless reset tokens; survives generations */
	struct qp_msg_tcp tcp;
	struct qp_msg_udp udp;
	uint8_t audit_conns;         /* 1: CONN_CLOSED for each outside connection */
	char cert_file[192];
	char key_file[192];
};

struct qp_msg_hello {
	uint32_t ifindex;  /* the TAP; nic mode: QP_NIC_IFINDEX of the first port */
	uint8_t mac[6];    /* of the same */
	uint16_t ok;       /* 0: could not start, `why` says it */
	char why[384];
	uint8_t takes_over; /* 1: it does what FORWARD_GRANT's listen_only and takes_from say */
};

struct qp_msg_auth_begin {
	uint8_t peer_addr[16];
	uint16_t peer_port_be;
	uint16_t len;
	uint8_t bytes[96];
};

struct qp_msg_auth_bytes { /* AUTH_REPLY, AUTH_FINISH */
	uint16_t len;
	uint8_t bytes[128];
};

/*
 * Who a tunnel belongs to. The data plane keeps it for a control plane that
 * starts anew (TUNNEL_STATE), and knows by client_id whose limits count.
 */
struct qp_msg_identity {
	uint32_t client_id;    /* the control plane's number of the client, not 0; the same until it ends */
	uint8_t method;        /* enum qp_auth_method */
	uint8_t pad[3];
	uint64_t since;        /* Unix time of its authentication, seconds */
	uint8_t key[32];       /* X25519; with a PSK the control plane's mark of it, or zeros */
	char name[64];         /* the client's, or the PSK's; with its NUL */
};

/* For a tunnel that is authenticated already: accepted gives it another identity, refused nothing. */
struct qp_msg_verdict {
	uint8_t accepted; /* 1 or 0 */
	uint8_t pad[7];
	struct qp_msg_identity identity;
};

/*
 * Of all tunnels of a client on this worker together; the control plane has
 * divided by the workers. 0: no limit.
 */
struct qp_msg_client_limits {
	uint32_t client_id;
	uint32_t max_conns;        /* outside connections and UDP flows at once */
	uint32_t conns_per_s;      /* new ones; a burst of one second's is let through */
	uint32_t nsources;         /* networks that CLIENT_SOURCES tell; 0: anybody may come */
	uint64_t in_bytes_per_s;   /* payload, outside to tunnel */
	uint64_t out_bytes_per_s;  /* payload, tunnel to outside */
};

struct qp_msg_network {
	uint8_t addr[16];  /* v4-mapped; host bits are zero */
	uint8_t prefix;    /* 0 … 128, of the mapped form */
};

#define QP_MSG_NETWORKS 24u
#define QP_CLIENT_MAX_SOURCES 96u

struct qp_msg_client_sources {
	uint32_t client_id;
	uint16_t first;    /* index of network[0] in the whole list */
	uint16_t n;
	struct qp_msg_network network[QP_MSG_NETWORKS];
};

struct qp_msg_client_forget {
	uint32_t client_id;
};

struct qp_msg_tunnel_close {
	uint32_t code;     /* enum qp_app_error */
	char phrase[128];  /* for the client; with its NUL */
	uint8_t moved;     /* 1: its port is another worker's now; who still knocks here is not answered */
};

struct qp_msg_conn_close {
	uint32_t conn_id;  /* as CONN_ROWS shows it */
};

/* As qp_log_levels_parse reads them. */
struct qp_msg_log_levels {
	char text[256];
};

/* How much the data plane may have from malloc (common/heap.h). */
struct qp_msg_budget {
	uint64_t heap_bytes;  /* 0: no limit */
};

/* Again with less grace by a control plane that starts anew. */
struct qp_msg_retire {
	uint32_t idle_ms;     /* a tunnel whose connections carry nothing for so long may go */
	uint32_t grace_ms;    /* and after so long any */
};

/* One of a dead data plane's clients (struct qp_farewell_entry), and the way to it. */
struct qp_msg_farewell {
	uint8_t peer_addr[16];
	uint8_t local_addr[16];
	uint8_t token[16];
	uint32_t ifindex;
	uint16_t peer_port_be;
	uint16_t mtu;
};

#define QP_MSG_FAREWELLS_MAX 8u

struct qp_msg_farewells {
	uint32_t n;
	struct qp_msg_farewell to[QP_MSG_FAREWELLS_MAX];
};

/* What a tunnel has carried; payload bytes. */
struct qp_msg_usage {
	uint64_t in_bytes;    /* outside to tunnel */
	uint64_t out_bytes;   /* tunnel to outside */
	uint64_t conns_total;
	uint32_t conns_now;
	uint32_t conns_refused;
};

/* Why an outside connection or a tunnel ended: for people and the audit log. */
enum qp_end_reason {
	QP_END_UNKNOWN = 0,
	QP_END_FINISHED,     /* both ends said that they were done */
	QP_END_OUTSIDE_RESET,
	QP_END_CLIENT_RESET,
	QP_END_TIMEOUT,
	QP_END_TUNNEL,       /* its tunnel ended */
	QP_END_KICKED,
	QP_END_LIMIT,
	QP_END_NO_MEMORY,
	QP_END_CLIENT_LEFT,  /* of a tunnel: it said so */
	QP_END_CLIENT_LOST,  /* of a tunnel: silence */
	QP_END_SHUTDOWN,     /* of a tunnel: the gateway's or the data plane's end */
	QP_END_PROTOCOL,     /* the client broke the rules */
	QP_END_REFUSED,      /* not authenticated, not granted, or the destination said no */
};

struct qp_msg_tunnel_state {
	struct qp_msg_identity identity;
	uint8_t peer_addr[16];
	uint16_t peer_port_be;
	uint16_t port;         /* that it holds, host order; 0: none */
	uint8_t protocol;
	uint8_t local;         /* 1: a local forward; `destination` is where it leads */
	uint16_t source_first; /* of a local forward: its worker's own local ports */
	uint16_t source_count; /* 0: none yet */
	uint16_t destination_len;
	char destination[256];
};

struct qp_msg_tunnel_closed { /* TUNNEL_CLOSED */
	uint32_t reason;      /* enum qp_end_reason */
	uint32_t authenticated; /* 1: `state` is what it was, for a control plane that does not know it */
	struct qp_msg_usage usage;
	struct qp_msg_tunnel_state state;
};

/* One outside connection or UDP flow; in CONN_CLOSED as it was at its end. */
struct qp_msg_conn {
	uint64_t tunnel_id;
	uint64_t place;       /* in lists: a cursor of place + 1 goes on behind it */
	uint32_t conn_id;     /* on the wire */
	uint8_t protocol;     /* 1 TCP, 2 UDP */
	uint8_t local;        /* 1: of a local forward: `peer` is where it leads */
	uint16_t port;        /* of the gateway, host order; local: what `peer` sees as source */
	uint8_t peer_addr[16];
	uint16_t peer_port_be;
	uint16_t reason;      /* CONN_CLOSED: enum qp_end_reason */
	uint32_t age_ms;      /* since it was accepted; saturates */
	uint64_t in_bytes;
	uint64_t out_bytes;
};

/* Whole by itself: a row of the audit log waits for nothing that its reader may have to learn. */
struct qp_msg_conn_closed {
	struct qp_msg_conn conn;
	char client[64];      /* qp_msg_identity.name */
};

struct qp_msg_list {
	uint64_t query;       /* echoed */
	uint64_t cursor;      /* 0: from the first; else as the last answer said */
	uint32_t max;         /* rows at most, in all */
};

#define QP_MSG_CONN_ROWS_MAX 7u

struct qp_msg_conn_rows {
	uint64_t query;
	uint64_t next;        /* cursor; 0: these were the last */
	uint32_t n;
	uint32_t more;        /* 1: another message of this answer follows */
	struct qp_msg_conn row[QP_MSG_CONN_ROWS_MAX];
};

struct qp_msg_tunnel_row {
	uint64_t id;
	uint64_t place;        /* a cursor of place + 1 goes on behind it */
	uint8_t peer_addr[16]; /* now: it may have migrated */
	uint16_t peer_port_be;
	uint16_t pad;
	uint32_t rtt_us;
	struct qp_msg_usage usage;
};

#define QP_MSG_TUNNEL_ROWS_MAX 6u

struct qp_msg_tunnel_rows {
	uint64_t query;
	uint64_t next;
	uint32_t n;
	uint32_t more;
	struct qp_msg_tunnel_row row[QP_MSG_TUNNEL_ROWS_MAX];
};

struct qp_msg_forward {  /* FORWARD_REQUEST */
	uint16_t port;   /* host order; 0: any free one */
	uint8_t protocol; /* 1 TCP, 2 UDP */
	uint8_t pad;
	uint16_t destination_len;
	char destination[256]; /* for the log, cut to fit */
};

struct qp_msg_forward_answer { /* FORWARD_GRANT, FORWARD_DENY */
	uint16_t port;     /* the one that is open now */
	uint8_t protocol;
	uint8_t status;    /* wire status: 0 success, else why not */
	uint8_t addr[16];  /* the only local address that it answers on; all zero: every */
	uint16_t message_len;
	char message[256];
	/* Of a port that another tunnel of the client has: both only to a worker whose HELLO has takes_over. */
	uint8_t listen_only; /* 1: on another worker: first listen, say FORWARD_LISTENS, and tell the client nothing yet */
	uint64_t takes_from; /* on this worker: from this tunnel, which then ends; 0: from none */
};

struct qp_msg_forward_closed {
	uint16_t port;
	uint8_t protocol;
	uint8_t pad;
	uint32_t reason;      /* enum qp_end_reason, as far as it is known yet */
	struct qp_msg_usage usage;
};

struct qp_msg_local {  /* LOCAL_REQUEST */
	uint8_t protocol; /* 1 TCP, 2 UDP */
	uint8_t again;    /* 1: of a forward that is open */
	uint16_t destination_len;
	char destination[QP_MSG_DESTINATION_BYTES]; /* "host:port" */
};

/* One of the addresses that a local forward's destination has, and the way to it. */
struct qp_msg_local_addr {
	uint8_t addr[16];   /* v4-mapped */
	uint8_t source[16]; /* the host's address that connections come from */
	uint32_t ifindex;   /* they leave by it; lo's: the host itself */
	uint32_t mtu;
};

#define QP_LOCAL_ADDRS 4u

struct qp_msg_local_grant { /* LOCAL_GRANT */
	uint16_t port;         /* of the destination, host order */
	uint8_t protocol;
	uint8_t naddrs;        /* 1 … QP_LOCAL_ADDRS; to be tried in this order */
	uint8_t named;         /* 1: resolved from a name, so it may change */
	uint8_t pad;
	uint16_t source_first; /* the worker's own local ports, host order */
	uint16_t source_count; /* 0: any */
	uint16_t message_len;
	struct qp_msg_local_addr addr[QP_LOCAL_ADDRS];
	char message[256];
};

struct qp_msg_api_open {
	uint8_t peer_addr[16];
	uint16_t peer_port_be;
};

struct qp_msg_api_data {
	uint16_t len;
	uint8_t bytes[QP_MSG_API_BYTES];
};

struct qp_msg_api_close {
	uint8_t how; /* enum qp_api_close */
};

/*
 * `id`: the tunnel, or the API connection, as the data plane numbers it;
 * unique in a worker's life, so a late answer never meets a successor.
 */
struct qp_msg {
	uint16_t type;    /* enum qp_msg_type */
	uint16_t worker;  /* index, for the log */
	uint32_t version; /* that the pair speaks; the sending end fills it in */
	uint64_t id;
	union {
		struct qp_msg_config config;
		struct qp_msg_hello hello;
		struct qp_msg_auth_begin auth_begin;
		struct qp_msg_auth_bytes auth_bytes;
		struct qp_msg_verdict verdict;
		struct qp_msg_forward forward; /* FORWARD_LISTENS: its port and protocol */
		struct qp_msg_forward_answer forward_answer;
		struct qp_msg_forward_closed forward_closed;
		struct qp_msg_local local;
		struct qp_msg_local_grant local_grant;
		struct qp_msg_api_open api_open;
		struct qp_msg_api_data api_data;
		struct qp_msg_api_close api_close;
		struct qp_msg_client_limits client_limits;
		struct qp_msg_client_sources client_sources;
		struct qp_msg_client_forget client_forget;
		struct qp_msg_tunnel_close tunnel_close;
		struct qp_msg_tunnel_closed tunnel_closed;
		struct qp_msg_conn_close conn_close;
		struct qp_msg_conn_closed conn_closed;
		struct qp_msg_list list;
		struct qp_msg_log_levels log_levels;
		struct qp_msg_budget budget;
		struct qp_msg_retire retire;
		struct qp_msg_farewells farewells;
		struct qp_msg_conn_rows conn_rows;
		struct qp_msg_tunnel_rows tunnel_rows;
		struct qp_msg_tunnel_state tunnel_state;
		uint8_t raw[QP_MSG_BYTES - 16];
	};
};

_Static_assert(sizeof(struct qp_msg_conn_rows) <= QP_MSG_BYTES - 16, "rows fit");
_Static_assert(sizeof(struct qp_msg_tunnel_rows) <= QP_MSG_BYTES - 16, "rows fit");
_Static_assert(sizeof(struct qp_msg_farewells) <= QP_MSG_BYTES - 16, "farewells fit");
_Static_assert(sizeof(struct qp_msg_tunnel_closed) <= QP_MSG_BYTES - 16, "an end fits");
_Static_assert(sizeof(struct qp_msg_client_sources) <= QP_MSG_BYTES - 16, "networks fit");
_Static_assert(sizeof(struct qp_msg) == QP_MSG_BYTES, "a ring element has a fixed size");

#endif
