/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_CLIENT_IMPL_H
#define QP_CLIENT_CLIENT_IMPL_H

#include <pthread.h>
#include <sys/queue.h>

#include "client/listen.h"
#include "client/pipe.h"
#include "client/resolve.h"
#include "client/session.h"
#include "client/trust.h"
#include "client/watch.h"
#include "common/addr.h"
#include "common/auth.h"
#include "common/log.h"
#include "include/quicport.h"

/*
 * A client and its forwards from within. All of it belongs to the thread that
 * runs the client's loop; other threads have it do what they want (client.c).
 */
struct qpc_call;

/* What a side proves and expects; keys in guarded memory. Owner: client or forward. */
struct qpc_identity {
	enum qp_auth_method method; /* QP_AUTH_NONE: not given */
	struct qp_secret *private_key, *psk;
	uint8_t server_key[QP_KEY_BYTES];
};

/* One address of the gateway on trial, or the one that won. Life: of its session. */
struct qpc_attempt {
	struct qp_forward *forward;
	struct qpc_session_config cfg; /* borrowed by the session */
	struct qpc_session *session;   /* NULL: not tried, or over */
};

/* The connection that a forward has, or is making (connect.c). */
struct qpc_connect {
	struct qpc_resolver resolver;
	struct qpc_timer stagger;          /* the next address may be tried */
	struct qpc_timer reason;           /* STDIO: its connection was reset, and the server may yet say why */
	unsigned reason_waits;
	struct qpc_addrs addrs;
	struct qpc_attempt attempt[QPC_MAX_ADDRS];
	size_t tried;                      /* addresses so far */
	struct qpc_attempt *winner;        /* its handshake was the first to be done */
	struct qpc_session_end last;       /* of the attempt that failed last */
};

/* Fingerprints that are good for this client's life. */
struct qpc_once {
	struct qpc_once *next;
	char host[QP_HOST_BYTES + 16];
	char fingerprint[QP_FINGERPRINT_TEXT_BYTES];
};

struct qp_forward {
	struct qp_client *client;
	TAILQ_ENTRY(qp_forward) link;
	char name[64];
	void *user;                        /* the program's */
	enum qp_forward_kind kind;
	struct qp_target server, local, remote;
	char local_text[QP_HOST_BYTES + 16], remote_text[QP_HOST_BYTES + 16];
	struct qpc_identity own;           /* method NONE: the client's counts */
	struct qpc_session_config cfg;     /* what all attempts have in common */
	struct qpc_addrs dest;             /* REMOTE: of the local service */
	struct qpc_listener listener;      /* LOCAL */
	struct qpc_pipe *pipe;             /* STDIO, once open */
	int fd_in, fd_out;                 /* STDIO */
	bool close_fd_out;
	bool piped;                        /* STDIO: its one connection was begun */

	enum qp_forward_state state;
	struct qpc_connect connect;
	struct qpc_trust trust;
	struct qp_errmsg trust_error;      /* the last check could not read known_hosts */
	struct qpc_timer timer;            /* WAITING: the next try; else: what came of the last is to be judged */
	struct qpc_task over;              /* a session or all addresses failed: judged at the end of the turn */
	bool was_open;                     /* at least once */
	bool sent_away;                    /* the server said that it goes down: another one may be there already */
	bool forgotten;                    /* the last connection ended by a stateless reset */
	bool removed;                      /* by qp_client_remove: nobody is told any more */
	uint32_t attempts;                 /* in a row without success */
	uint32_t denials;                  /* in a row for reasons that trying again does not mend */
	uint64_t reconnects;
	uint64_t migrations;               /* of sessions that are over */
	uint16_t port;
	int error;
	struct qpc_relay_counters before;  /* of sessions that are over */
};
TAILQ_HEAD(qpc_forward_list, qp_forward);

/* Owner: see include/quicport.h. Life: qp_client_new to qp_client_free. */
struct qp_client {
	struct qpc_loop loop;
	pthread_mutex_t lock;              /* of `calls`; the only thing that threads share */
	pthread_cond_t answered;
	struct qpc_call *calls;            /* what other threads want done; in order */
	struct qpc_source wake;            /* an eventfd: another thread has changed something */
	struct qpc_source clock;           /* a timerfd, so that the epoll descriptor alone tells all */
	uint64_t clock_ns;                 /* what it is set to */
	struct qpc_watch watch;            /* of this host's addresses and routes */
	WOLFSSL_CTX *tls;
	struct qp_client_options o;        /* strings inside are not to be used */
	struct qp_target server;           /* port 0: not given */
	struct qpc_identity identity;
	char known_hosts[4096];            /* "": the default */
	struct qpc_once *once;
	struct qp_log_tap tap;
	struct qpc_forward_list forwards;
	struct qpc_forward_list leaving;   /* removed, saying goodbye */
	pthread_t thread;
	bool threaded, ending, stopping;
	bool inspecting;                   /* qp_inspect: no certificate is good enough to go on */
};

/* client.c: `msg` to the program; returns `err`. `error` may be NULL. */
int qpc_report(struct qp_error *error, int err, const struct qp_errmsg *msg);
/* Runs it where the client lives, and returns when that is done. Any thread. */
void qpc_run_in_client(struct qp_client *c, void (*run)(void *arg), void *arg);

/* forward_new.c: a forward in the client's list, nothing under way yet. */
int qpc_forward_new(struct qp_client *c, const struct qp_forward_options *o, struct qp_forward **out,
	struct qp_errmsg *msg) __attribute__((warn_unused_result));

/* forward.c */
void qpc_forward_begin(struct qp_forward *f);
/* Polite end; ENDED within half a second. */
void qpc_forward_stop(struct qp_forward *f);
/* Drops all; nobody is called. */
void qpc_forward_free(struct qp_forward *f);
/* This host's addresses or routes have changed. */
void qpc_forward_network_changed(struct qp_forward *f);
/* The server proved itself; the forward is open. */
void qpc_forward_connected(struct qp_forward *f, const struct qp_sockaddr *server);
void qpc_forward_opened(struct qp_forward *f, struct qp_slice message);
/* The connection attempt as a whole came to nothing, or the session ended: judged later in this turn. */
void qpc_forward_over(struct qp_forward *f);
const struct qpc_identity *qpc_forward_identity(const struct qp_forward *f);

/* forward_local.c */
int qpc_forward_listen(struct qp_forward *f, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* The forward is open: its descriptors become the connection. */
void qpc_forward_pipe(struct qp_forward *f);
/* How that connection ended. The session is still there. */
int qpc_forward_pipe_end(const struct qp_forward *f, struct qp_errmsg *msg);

/* connect.c */
/* Looks the gateway up and races its addresses (RFC 8305). */
int qpc_connect_begin(struct qp_forward *f, struct qp_errmsg *msg) __attribute__((warn_unused_result));
/* Drops whatever is under way, the session included. */
void qpc_connect_drop(struct qp_forward *f);
/* The session that won, also after its end; NULL. */
struct qpc_session *qpc_connect_session(const struct qp_forward *f);

/* identity.c */
int qpc_identity_load(struct qpc_identity *id, const struct qp_identity *from, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
void qpc_identity_clear(struct qpc_identity *id);

/* explain.c: what went wrong, for a person and as a code of include/quicport.h. */
int qpc_explain(const struct qp_forward *f, const struct qpc_session_end *end, struct qp_errmsg *msg);

#endif
