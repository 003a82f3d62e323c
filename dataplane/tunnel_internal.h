/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TUNNEL_INTERNAL_H
#define QP_DATAPLANE_TUNNEL_INTERNAL_H

#include <sys/queue.h>

#include "common/wire.h"
#include "dataplane/clients.h"
#include "dataplane/slots.h"
#include "dataplane/tunnel.h"
#include "dataplane/usage.h"
#include "dataplane/udp/udp.h"

struct rte_mbuf;

/* What stands behind a stream: first member of what its context points to. */
enum qp_stream_kind {
	QP_STREAM_CONTROL,
	QP_STREAM_RELAY,
	QP_STREAM_UDP,
	QP_STREAM_LOCAL, /* a client's, whose connection id is not whole yet; then it becomes a relay */
};

enum qp_tunnel_state {
	QP_TUNNEL_STEP1,   /* the client's first authentication bytes are awaited */
	QP_TUNNEL_REPLY,   /* the control plane has them */
	QP_TUNNEL_STEP3,   /* the client's answer is awaited */
	QP_TUNNEL_VERDICT, /* the control plane has it */
	QP_TUNNEL_REQUEST, /* authenticated: the forward request is awaited */
	QP_TUNNEL_GRANT,   /* the control plane has it */
	QP_TUNNEL_OPEN,    /* the port is open */
	QP_TUNNEL_LAST,    /* last words are on their way, then the connection closes */
	QP_TUNNEL_ENDED,   /* the connection was told to close */
};

TAILQ_HEAD(qp_relay_queue, qp_relay);

struct qp_local;
struct qp_local_conn;

/*
 * One client's tunnel: a QUIC connection with stream 0 on it. Owner: the
 * lcore. Life: from the handshake to the connection's end. Lock: none.
 */
struct qp_tunnel {
	enum qp_stream_kind kind;            /* QP_STREAM_CONTROL */
	enum qp_tunnel_state state;
	struct qp_tunnels *all;
	struct qp_quic_conn *conn;
	struct qp_quic_stream *control;      /* stream 0; NULL before it opens and after it closes */
	uint64_t id;                         /* towards the control plane */
	struct qp_timer deadline;            /* authentication and request, or last words */
	bool announced;                      /* the control plane knows it: TUNNEL_CLOSED is owed */
	bool authenticated;
	struct qp_msg_auth_begin *began;     /* what the control plane has not answered yet; else NULL */
	uint32_t told;                       /* the control plane that knows of it; all->epoch: the present one */
	enum qp_end_reason why;              /* the first that was said counts */
	struct qp_client *client;            /* whose limits count; NULL: no limit */
	struct qp_msg_identity identity;     /* as the verdict said it */
	struct qp_msg_usage usage;
	uint32_t early_bytes;                /* of stream 0 before that: no credit is given back for them */
	uint16_t port;                       /* host order; 0: none is held */
	uint16_t was_port;                   /* the one it gave back */
	uint16_t listens_on;                 /* by one of the next two: `port`, or before it is granted; 0: none */
	uint8_t protocol;
	struct qp_tcp_listener *listener;
	struct qp_msg_forward *asked;        /* of a remote forward, from its request on */
	struct qp_local *local;              /* of a local forward, from its request on; NULL: a remote one */
	struct qp_udp_port *udp_port;        /* of a UDP forward: its port and virtual connections */
	struct qp_udp_flow_queue flows;      /* with a stream; the one that was silent longest first */
	struct qp_udp_flow_queue waiting_flows; /* the client's stream limit is reached */
	uint32_t nflows;
	struct qp_slots relay_ids;           /* 32-bit connection ids of the wire */
	struct qp_relay_queue relays;        /* all of them */
	struct qp_relay_queue waiting;       /* accepted, but the client's stream limit is reached */
	uint32_t nwaiting;                   /* relays or flows that wait */
	uint32_t nrelays;
	uint32_t nholding;                   /* relays with bytes in mbufs */
	uint64_t owed_credit;                /* connection credit held back under memory pressure */
	uint64_t held_bytes;                 /* payload of its relays in mbufs, both directions */
	uint64_t last_code;                  /* how the connection closes after the last words */
	const char *last_phrase;             /* static text */
	char *ordered_phrase;                /* the control plane's, when it closes the tunnel */
	/* Bytes of stream 0 that wait for more, or for the control plane. */
	uint8_t *rx;
	uint32_t rx_len, rx_cap;
	/* While the data plane retires: what it had carried when it last carried something, and when. */
	uint64_t retire_carried, retire_quiet_ns;
	LIST_ENTRY(qp_tunnel) link;
};
LIST_HEAD(qp_tunnel_list, qp_tunnel);

/*
 * One outside connection and its stream. Owner: the tunnel. Life: from accept,
 * or from the stream that a client opened in a local forward,
 * until both sides are gone. Lock: none. Aborts asked for from inside TCP's
 * callbacks are done at the flush (`kill`).
 */
struct qp_relay {
	enum qp_stream_kind kind;            /* QP_STREAM_RELAY */
	uint32_t id;                         /* on the wire, unless `local` */
	struct qp_tunnel *tunnel;
	struct qp_local_conn *local;         /* of a local forward: how it gets its connection */
	struct qp_tcp_conn *tcp;             /* NULL: ended, or not open yet */
	struct qp_quic_stream *stream;       /* NULL: not open yet, or closed */
	struct rte_mbuf *held;               /* outside bytes that came before the stream was open, or too fast */
	struct rte_mbuf **held_end;
	struct rte_mbuf *out;                /* this burst's bytes for TCP, and those that came too fast */
	struct rte_mbuf *out_tail;
	uint64_t queued_bytes;               /* outside → tunnel, not acknowledged by the client */
	uint64_t out_bytes;                  /* tunnel → outside, not acknowledged by the outside */
	uint32_t credit_bytes;               /* tunnel → outside: granted and not acknowledged by the outside */
	uint32_t window;                     /* what credit_bytes may come to; follows the path */
	uint32_t round_bytes;                /* acknowledged by the outside since round_ns */
	uint64_t round_ns;
	uint8_t prefix_left;                 /* bytes of the connection id not acknowledged yet */
	bool outside_fin;                    /* TCP's FIN came */
	bool tunnel_fin;                     /* the stream's FIN came */
	bool shut;                           /* our FIN is queued in TCP */
	bool stopped;                        /* the client reads no more */
	struct qp_usage use;
	bool shaped[QP_WAYS];                /* its bytes wait for the client's bandwidth */
	int32_t deficit[QP_WAYS];            /* of its turns there */
	TAILQ_ENTRY(qp_relay) shape_link[QP_WAYS];
	bool waiting, dirty, kill;
	bool stream_done;                    /* the stream has come and gone */
	TAILQ_ENTRY(qp_relay) link;          /* tunnel->relays */
	TAILQ_ENTRY(qp_relay) wait_link;     /* tunnel->waiting */
	TAILQ_ENTRY(qp_relay) dirty_link;    /* all->dirty */
};

struct qp_tunnels {
	struct qp_tunnels_env env;
	struct qp_slots ids;
	struct qp_tunnel_list list;
	struct qp_client_bucket clients[QP_CLIENT_BUCKETS]; /* by id */
	struct qp_tunnel *sampled_next;      /* whose round-trip time is counted next; NULL: the list's first */
	struct qp_relay_queue dirty;         /* have something to do at the flush */
	uint32_t nholding;                   /* relays with bytes in mbufs */
	uint32_t local_opening;              /* connections of local forwards that are not open yet */
	bool owed;                           /* some tunnel has owed_credit */
	struct qp_timer relief;              /* armed while mbufs are scarce */
	uint32_t epoch;                      /* control planes that there were before the present one */
	bool replaying;                      /* the present one is being told the tunnels: */
	uint32_t replay_at;                  /* … from this slot on */
	struct qp_timer retire;              /* armed while tunnels are sent away */
	uint64_t retire_idle_ns, retire_all_ns; /* how long they must be silent; when silence counts no more */
	bool sweeping;                       /* connections are looked for whose sources came to be kept out: */
	uint32_t sweep_tunnel, sweep_conn;   /* … from these slots on */
};

/* tunnel.c */
/* An empty message about this tunnel. */
void qp_tunnel_message_init(const struct qp_tunnel *t, struct qp_msg *msg, enum qp_msg_type type);
/* False: not taken; see qp_tunnels_env.send. */
bool qp_tunnel_message_send(struct qp_tunnel *t, const struct qp_msg *msg);
/* Closes the port and everything that runs over it; the connection itself goes on. */
void qp_tunnel_close_port(struct qp_tunnel *t);
/* Closes port and connection. `phrase`: static text, NULL for the code's own. */
void qp_tunnel_end(struct qp_tunnel *t, enum qp_app_error code, const char *phrase);
/* The same, once the client has acknowledged what stands on stream 0. */
void qp_tunnel_last_words(struct qp_tunnel *t, enum qp_app_error code, const char *phrase);
/* Tells the client that this data plane ends, then closes port and connection. */
void qp_tunnel_goodbye(struct qp_tunnel *t);
int qp_tunnel_control_send(struct qp_tunnel *t, const struct qp_wire_msg *msg);
/* A forward response; the tunnel ends if it cannot be sent. */
void qp_tunnel_respond(struct qp_tunnel *t, enum qp_wire_type type, enum qp_wire_status status,
	struct qp_slice text);
/* RemoteNewConnection: only information, so it is left out when a client reads none or mbufs lack. */
void qp_tunnel_announce(struct qp_tunnel *t, uint32_t conn_id);

/* forward.c: the port of a remote forward */
/* FORWARD_GRANT; `t` NULL: the tunnel is gone. */
void qp_forward_granted(struct qp_tunnels *ts, struct qp_tunnel *t, const struct qp_msg *msg);
void qp_forward_denied(struct qp_tunnel *t, const struct qp_msg *msg);
/* Connections go on, and the control plane is not told. */
void qp_forward_unlisten(struct qp_tunnel *t);
/* The same when the port is another worker's now. */
void qp_forward_leave(struct qp_tunnel *t);

/* tunnel_control.c */
/* FORWARD_REQUEST, from what the client asked for (t->asked). */
void qp_tunnel_ask_forward(struct qp_tunnel *t);
/* Bytes of stream 0; borrowed. */
void qp_tunnel_control_data(struct qp_tunnel *t, const uint8_t *data, size_t len, bool fin);
/* Credit for `len` bytes of stream 0, and of the connection. */
void qp_tunnel_give_credit(struct qp_tunnel *t, uint64_t len);
/* Goes on with what waited in t->rx: after an answer of the control plane. */
void qp_tunnel_process(struct qp_tunnel *t);

/* listing.c */
/* LIST_TUNNELS and LIST_CONNS: answers at once. */
void qp_listing_message(struct qp_tunnels *ts, const struct qp_msg *msg);

/* relay_pass.c */
/* Bytes that wait: there are some; `most` of them or a part of an mbuf more go on. Returns how many. */
bool qp_relay_has(const struct qp_relay *r, enum qp_way way);
uint32_t qp_relay_pass(struct qp_relay *r, enum qp_way way, uint32_t most);

/* replay.c */
/* Sends `began`, perhaps once more. */
void qp_tunnel_ask_auth(struct qp_tunnel *t);
/* REPLAY has come: the tunnels are told from now on. */
void qp_replay_begin(struct qp_tunnels *ts);
/* Once a turn: some more of them. */
void qp_replay_go_on(struct qp_tunnels *ts);
/* TUNNEL_STATE of one, unless the control plane knows it; the tunnel may end by it. */
void qp_replay_tell(struct qp_tunnel *t);
/* What TUNNEL_STATE says of it. `out` is zeroed. */
void qp_replay_state(const struct qp_tunnel *t, struct qp_msg_tunnel_state *out);

/* sweep.c */
/* Some client serves fewer networks than before. */
void qp_sweep_begin(struct qp_tunnels *ts);
/* Once a turn. */
void qp_sweep_go_on(struct qp_tunnels *ts);

/* local.c: local forwards */
/* Where the client wants it to lead; borrowed from the tunnel. */
const char *qp_local_destination(const struct qp_tunnel *t, size_t *len);
/* The control plane that was asked is gone. */
void qp_local_ask_again(struct qp_tunnel *t);
/* The worker's own local ports, as it was granted; a count of 0: not granted yet. */
void qp_local_sources(const struct qp_tunnel *t, uint16_t *first, uint16_t *count);
/* LocalForwardRequest: asks the control plane where it leads. */
void qp_local_request(struct qp_tunnel *t, const struct qp_wire_msg *msg);
/* LOCAL_GRANT and LOCAL_DENY. */
void qp_local_granted(struct qp_tunnel *t, const struct qp_msg *msg);
void qp_local_denied(struct qp_tunnel *t, const struct qp_msg *msg);
/* The tunnel is gone, and its connections were before it. */
void qp_local_free(struct qp_tunnel *t);
/* The client opened a stream. */
void qp_local_stream_opened(struct qp_tunnel *t, struct qp_quic_stream *s);
/* Its first bytes: while the relay's kind is QP_STREAM_LOCAL. */
void qp_local_stream_data(struct qp_relay *r, const uint8_t *data, size_t len, bool fin);
/* The relay, or UDP flow, that the client calls `id`; or NULL. */
void *qp_local_find(const struct qp_tunnel *t, uint32_t id);
/* Whether what the client sends must still wait for the connection. */
bool qp_local_is_opening(const struct qp_relay *r);
/* From TCP: it is open; it did not open. */
void qp_local_connected(struct qp_relay *r);
void qp_local_unreached(struct qp_relay *r, enum qp_tcp_end why);
/* While it opens, at the flush: after qp_local_unreached the next address, or the end. */
void qp_local_flush(struct qp_relay *r);
/* A UDP destination says that nobody is there: tells the client; the flow is to be ended. */
void qp_local_flow_refused(struct qp_tunnel *t, struct qp_local_conn *c);
/* The relay, or the flow, is going. */
void qp_local_conn_free(struct qp_tunnel *t, struct qp_local_conn *c);

/* relay.c */
/* NULL when out of memory or ids. `tcp`: NULL when it is not open yet. */
struct qp_relay *qp_relay_new(struct qp_tunnel *t, struct qp_tcp_conn *tcp);
/* Both sides are gone, or told. */
void qp_relay_free(struct qp_relay *r);
/* Something is to be done at the flush. */
void qp_relay_mark(struct qp_relay *r);
/* Bytes that a new connection may have waiting in each direction. */
uint32_t qp_relay_first_share(const struct qp_tunnel *t);
extern const struct qp_tcp_ops qp_relay_tcp_ops;
void qp_relay_stream_data(struct qp_relay *r, const uint8_t *data, size_t len, bool fin);
void qp_relay_stream_acked(struct qp_relay *r, uint64_t bytes);
void qp_relay_stream_reset(struct qp_relay *r);
void qp_relay_stream_stopped(struct qp_relay *r);
void qp_relay_stream_closed(struct qp_relay *r);
/* The client allows more streams: those that wait open theirs. */
void qp_relay_open_waiting(struct qp_tunnel *t);
/* Resets the outside connection and the stream, frees the relay. Not from TCP's callbacks. */
void qp_relay_abort(struct qp_relay *r, uint64_t code);
/* By order of the control plane. */
void qp_relay_kick(struct qp_relay *r);
/* The same for all of a tunnel. */
void qp_relay_abort_all(struct qp_tunnel *t);
void qp_relay_flush(struct qp_tunnels *ts);
/* Resets those connections of a tunnel that hold more than its average or just that. */
void qp_relay_abort_largest(struct qp_tunnel *t);

#endif
