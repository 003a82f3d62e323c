/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QUICPORT_H
#define QUICPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * libquicport: reverse tunnels over QUIC (quicport/1) in a program of your own.
 *
 * A client makes services of its side reachable at a gateway's ports (remote
 * forwards), and services of the gateway's side reachable here (local
 * forwards). Each forward is a connection of its own to the gateway: looked up,
 * tried on all its addresses, authenticated, kept, and made again when lost.
 *
 *	struct qp_client_options o = QP_CLIENT_OPTIONS;
 *	struct qp_forward_options f = QP_FORWARD_OPTIONS;
 *	o.server = "gateway.example:39000";
 *	o.psk = "secret";
 *	f.remote = "9022";
 *	f.local = "22";
 *	if (qp_client_new(&o, &client, &error) != 0 ||
 *		qp_client_add(client, &f, &forward, &error) != 0)
 *		errx(1, "%s", error.text);
 *
 * and then either qp_client_start, which runs it in a thread of its own, or
 * in your event loop: wait until qp_client_fd is readable, call
 * qp_client_process. Two programs in docs/examples show both.
 *
 * Threads: a client belongs to one thread at a time, the one that calls
 * qp_client_process. Once qp_client_start has succeeded that is the client's
 * own thread, callbacks come from there, and every function below may be
 * called from any thread. Different clients are independent.
 *
 * Ownership: strings and structs that are passed in are copied before the call
 * returns. What callbacks are given is valid until they return.
 *
 * Errors: functions return 0 or a negative enum qp_err; `error`, which may be
 * NULL, gets a line for a person that names the value and the way out.
 *
 * Structs that grow begin with their size; the macros above set it. A program
 * that was built against an older header keeps working with a newer library of
 * the same ABI version (the shared object's name).
 */
#define QP_ABI_VERSION 1

#if defined(__GNUC__)
#define QP_API __attribute__((visibility("default")))
#define QP_MUST_CHECK __attribute__((warn_unused_result))
#else
#define QP_API
#define QP_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The one list of error codes. */
enum qp_err {
	QP_OK = 0,
	QP_E_NOMEM = -1,        /* memory or a table is exhausted */
	QP_E_INVAL = -2,        /* an argument or option has no meaning */
	QP_E_PROTO = -3,        /* a peer broke the protocol */
	QP_E_AUTH = -4,         /* authentication failed, or the server is not trusted */
	QP_E_AGAIN = -5,        /* not now: more input or room is needed first */
	QP_E_FULL = -6,         /* a bounded queue or limit is reached */
	QP_E_NOTFOUND = -7,     /* no such thing */
	QP_E_INUSE = -8,        /* a port, name or file belongs to another */
	QP_E_PERM = -9,         /* the system or a policy denies it */
	QP_E_IO = -10,          /* the system failed */
	QP_E_CRYPTO = -11,      /* a cryptographic library failed */
	QP_E_CLOSED = -12,      /* the other side is gone */
	QP_E_VERSION = -13,     /* the two sides speak different versions */
	QP_E_TIMEOUT = -14,     /* a deadline passed */
	QP_E_UNSUPPORTED = -15, /* this kernel, port or build cannot do it */
	QP_E_REFUSED = -16,     /* the gateway did not grant the forward */
};

struct qp_error {
	int code;       /* enum qp_err */
	char text[384]; /* one line, always terminated */
};

/* "1.2.3", static. */
QP_API const char *qp_version(void);
/* The code in words, static; never NULL. */
QP_API const char *qp_strerror(int err);

/* --- Client --- */

struct qp_client;  /* one identity towards one gateway (or several), and its forwards */
struct qp_forward; /* one forward; lives from qp_client_add to qp_client_remove or qp_client_free */

enum qp_log_severity {
	QP_SEVERITY_ERROR = 0,
	QP_SEVERITY_WARN = 1,
	QP_SEVERITY_INFO = 2,
	QP_SEVERITY_DEBUG = 3,
	QP_SEVERITY_TRACE = 4,
};

/* What a line of the log looks like. */
enum qp_log_form {
	QP_LOG_FORM_PLAIN = 0, /* "forward open port=9022": what happened, and its fields */
	QP_LOG_FORM_LINE = 1,  /* the same after time and severity, as `quicport` prints it */
	QP_LOG_FORM_JSON = 2,  /* one JSON object, time and level in it */
};

/* Where a forward is. */
enum qp_forward_state {
	QP_FORWARD_CONNECTING = 0, /* looking the gateway up, connecting, authenticating */
	QP_FORWARD_OPEN = 1,       /* carries connections */
	QP_FORWARD_WAITING = 2,    /* lost or refused: will be tried again */
	QP_FORWARD_ENDED = 3,      /* over for good: `error` says why, 0: it was removed or stopped */
};

/* A gateway's certificate, for a person's judgement. The names are its own claims, made printable. */
struct qp_certificate {
	const char *host;         /* "name:port", as it was given */
	const char *fingerprint;  /* SHA-256 of the DER, "AB:CD:…" */
	const char *recorded;     /* the fingerprint on file when it has changed; NULL: unknown host */
	const char *subject, *issuer;
	const char *not_before, *not_after;
};

enum qp_trust {
	QP_TRUST_NO = 0,     /* the forward ends with QP_E_AUTH */
	QP_TRUST_RECORD = 1, /* written to known_hosts; the forward connects again */
	QP_TRUST_ONCE = 2,   /* accepted as long as the client lives, not written */
};

/* Called with what a gateway shows; see qp_inspect. */
typedef enum qp_trust (*qp_trust_fn)(void *user, const struct qp_certificate *cert);

/*
 * What happens, as it happens. All may be NULL; `user` is the options'. Called
 * from the client's thread, never from inside another call of this library but
 * qp_client_process. They may call any function on the client but
 * qp_client_free, and qp_client_process.
 */
struct qp_client_callbacks {
	/* A connection to the gateway stands; the forward is being asked for. `address`: "192.0.2.1:39000". */
	void (*connected)(void *user, struct qp_forward *f, const char *address);
	/* The forward is open; `message` is the gateway's (it names the port). */
	void (*forward_open)(void *user, struct qp_forward *f, const char *message);
	/*
	 * The forward is not open any more, or could not be opened. `retry_ms`: it
	 * will be tried again after so long; -1: it has ended.
	 */
	void (*closed)(void *user, struct qp_forward *f, const struct qp_error *why, int64_t retry_ms);
	/*
	 * The certificate of a gateway is unknown, or not the one on file. Nothing is connected
	 * meanwhile, so a person may be asked. NULL: QP_TRUST_NO.
	 */
	enum qp_trust (*trust)(void *user, struct qp_forward *f, const struct qp_certificate *cert);
	/* A line of the log, without a newline; secrets are never in it. NULL: nothing is logged. */
	void (*log)(void *user, enum qp_log_severity severity, const char *line);
};

/* How to prove who one is: X25519 keys in Base64 (WireGuard's format), or a PSK; one of the two. */
struct qp_identity {
	const char *psk;              /* UTF-8, the gateway's */
	const char *private_key;      /* 44 characters, … */
	const char *private_key_file; /* … or a file with them */
	const char *server_public_key;      /* the only gateway that is accepted, … */
	const char *server_public_key_file; /* … likewise */
};

struct qp_client_options {
	size_t size;                   /* sizeof(struct qp_client_options) */
	const char *server;            /* "HOST:PORT" of the gateway; required unless each forward has its own */
	struct qp_identity identity;   /* required unless each forward has its own */
	bool insecure;                 /* take any certificate */
	const char *known_hosts;       /* file of trusted certificates; NULL: ~/.local/share/quicport/known_hosts */
	uint32_t keep_alive_s;         /* ping after so much silence; 0: never */
	uint32_t idle_timeout_s;       /* the gateway is gone after so much silence; at least 1 */
	bool reconnect;                /* connect again when the connection is lost or cannot be made */
	uint32_t reconnect_max_attempts; /* in a row; 0: no limit */
	uint32_t reconnect_delay_ms;   /* before the first of them; doubled each time, to 60 s, with jitter */
	enum qp_log_severity log_severity; /* … and what is worse */
	enum qp_log_form log_form;
	struct qp_client_callbacks callbacks;
	void *user;                    /* first argument of the callbacks */
};

/* Keep-alive 5 s, idle timeout 90 s, reconnect without limit after 1 s at first. */
#define QP_CLIENT_OPTIONS                                                                          \
	{                                                                                          \
		.size = sizeof(struct qp_client_options), .keep_alive_s = 5,                       \
		.idle_timeout_s = 90, .reconnect = true, .reconnect_delay_ms = 1000,               \
		.log_severity = QP_SEVERITY_INFO                                                   \
	}

enum qp_forward_kind {
	QP_FORWARD_REMOTE = 0, /* the gateway listens on `remote`, this side connects to `local` */
	QP_FORWARD_LOCAL = 1,  /* this side listens on `local`, the gateway connects to `remote` */
	QP_FORWARD_STDIO = 2,  /* one connection: `fd_in` and `fd_out` here, the gateway connects to `remote` */
};

struct qp_forward_options {
	size_t size;              /* sizeof(struct qp_forward_options) */
	const char *name;         /* for callbacks' and logs' reader; NULL: made of kind and ports */
	enum qp_forward_kind kind;
	const char *remote;       /* REMOTE: "PORT[/tcp|/udp]", port 0: any free one; LOCAL, STDIO: "[HOST:]PORT[/…]" */
	const char *local;        /* REMOTE: "[HOST:]PORT[/…]"; LOCAL: "[ADDR:]PORT[/…]", 127.0.0.1 when left out */
	const char *server;       /* NULL: the client's */
	const struct qp_identity *identity; /* NULL: the client's */
	void *user;               /* for qp_forward_user */
	uint32_t udp_idle_timeout_s; /* UDP: a virtual connection ends after so much silence; 0: never */
	int fd_in, fd_out;        /* STDIO: read from and written to, blocking, by threads of the library; stay the caller's and open */
	/*
	 * STDIO: `fd_out` is the library's once the forward is open, and closed when the other
	 * side ends its direction: the only way to tell that to who reads from a pipe.
	 */
	bool close_fd_out;
};

#define QP_FORWARD_OPTIONS                                                                         \
	{                                                                                          \
		.size = sizeof(struct qp_forward_options), .udp_idle_timeout_s = 60, .fd_in = -1,  \
		.fd_out = -1                                                                       \
	}

/*
 * A client without forwards, for qp_client_free. Reads key files; resolves and connects nothing.
 * QP_E_INVAL, QP_E_NOTFOUND and QP_E_PERM (files), QP_E_NOMEM, QP_E_CRYPTO, QP_E_VERSION
 * (`size`), QP_E_IO (descriptors). Any thread.
 */
QP_API int qp_client_new(const struct qp_client_options *options, struct qp_client **out,
	struct qp_error *error) QP_MUST_CHECK;

/*
 * Adds a forward, which is the client's, and sets out to open it. Local ports are
 * bound before this returns: QP_E_INUSE, QP_E_PERM. QP_E_CLOSED: after
 * qp_client_stop. Else as above. `out` may be NULL.
 */
QP_API int qp_client_add(struct qp_client *client, const struct qp_forward_options *options,
	struct qp_forward **out, struct qp_error *error) QP_MUST_CHECK;
/* Says goodbye to the gateway and forgets the forward: it is gone on return, and no callback names it. */
QP_API void qp_client_remove(struct qp_client *client, struct qp_forward *forward);

/*
 * Your event loop: readable (poll, epoll) when qp_client_process has something
 * to do, timers included. The same descriptor for the client's whole life; its own.
 */
QP_API int qp_client_fd(const struct qp_client *client);
/*
 * Does what is due, calls back, never waits. Not beside qp_client_start. QP_E_IO: the system's
 * event interface failed.
 */
QP_API int qp_client_process(struct qp_client *client) QP_MUST_CHECK;

/*
 * A thread of the client's own instead, until qp_client_free; all signals are blocked in it.
 * QP_E_NOMEM; QP_E_INUSE: it has one already.
 */
QP_API int qp_client_start(struct qp_client *client, struct qp_error *error) QP_MUST_CHECK;

/*
 * Closes all forwards politely (SessionClose) and connects no more. `closed` tells of
 * each, within half a second. Idempotent.
 */
QP_API void qp_client_stop(struct qp_client *client);
/* Every forward has ended; also true without forwards. */
QP_API bool qp_client_done(const struct qp_client *client);
/* Ends the thread, drops what is open without a word, frees. Not from a callback. NULL is allowed. */
QP_API void qp_client_free(struct qp_client *client);

/*
 * Connects to options->server, shows its certificate to `decide` (recorded: what
 * known_hosts has, the same one included) and says no word of authentication; an identity
 * is not needed. QP_TRUST_RECORD writes it down. Blocks for at most 10 s and
 * `decide`, which is called in this thread: any one. QP_E_AUTH: `decide` said no. Else
 * as qp_client_new, or why there was no connection (QP_E_TIMEOUT, QP_E_IO …).
 */
QP_API int qp_inspect(const struct qp_client_options *options, qp_trust_fn decide, void *user,
	struct qp_error *error) QP_MUST_CHECK;

struct qp_forward_stats {
	size_t size;                /* set by the caller: sizeof(struct qp_forward_stats) */
	enum qp_forward_state state;
	uint64_t connections;       /* carried so far, … */
	uint64_t connections_active; /* … and now */
	uint64_t refused;           /* the local service or the gateway's destination could not be reached */
	uint64_t bytes_to_local;    /* payload to this side's sockets */
	uint64_t bytes_from_local;  /* payload from them */
	uint64_t reconnects;        /* times that a connection was lost and made again */
	uint32_t rtt_us;            /* smoothed, to the gateway; 0: not connected */
	uint16_t port;              /* REMOTE: the gateway's port, as far as known; LOCAL: ours */
	int error;                  /* enum qp_err of the last end */
	uint64_t migrations;        /* times that a connection went on by another path (address, interface) */
};

/* As it is now; fills the first `out->size` bytes. */
QP_API void qp_forward_get_stats(struct qp_client *client, const struct qp_forward *f,
	struct qp_forward_stats *out);
/* Lives as long as the forward. */
QP_API const char *qp_forward_name(const struct qp_forward *f);
/* The options' `user`. */
QP_API void *qp_forward_user(const struct qp_forward *f);

/* --- Gateway --- */

/*
 * A gateway that this program started: three processes of its own. From
 * qp_gateway_start to qp_gateway_stop; one thread at a time.
 */
struct qp_gateway;

struct qp_gateway_options {
	size_t size;               /* sizeof(struct qp_gateway_options) */
	/* Command line of `quicport control-plane`, without its name, NULL at the end. */
	const char *const *args;
	const char *program;       /* the quicport binary; NULL: from PATH */
	uint32_t ready_timeout_ms; /* qp_gateway_start waits so long */
};

#define QP_GATEWAY_OPTIONS                                                                         \
	{                                                                                          \
		.size = sizeof(struct qp_gateway_options), .ready_timeout_ms = 10000               \
	}

/*
 * Starts a gateway (needs root and hugepages) and waits until it serves. Its log goes
 * to this program's standard error unless `args` say otherwise. On failure
 * nothing is left and `error` has its last line: QP_E_CLOSED (it ended), QP_E_TIMEOUT,
 * QP_E_NOTFOUND and QP_E_PERM (the program), QP_E_VERSION (`size`), QP_E_NOMEM, QP_E_IO. Blocks; any
 * thread.
 */
QP_API int qp_gateway_start(const struct qp_gateway_options *options, struct qp_gateway **out,
	struct qp_error *error) QP_MUST_CHECK;

struct qp_gateway_stats {
	size_t size;            /* set by the caller: sizeof(struct qp_gateway_stats) */
	uint64_t uptime_s;
	uint64_t tunnels;       /* so far, … */
	uint64_t tunnels_active; /* … and now */
	uint64_t bytes_sent, bytes_received; /* payload towards and from outside users */
	uint64_t auth_failed;
};

/*
 * Asks the gateway's private API, without TLS or token; blocks for at most 2 s. QP_E_CLOSED: it has
 * ended, or does not listen; QP_E_TIMEOUT, QP_E_PROTO, QP_E_NOMEM, QP_E_IO.
 */
QP_API int qp_gateway_get_stats(struct qp_gateway *gateway, struct qp_gateway_stats *out,
	struct qp_error *error) QP_MUST_CHECK;
/* Ends it politely (2 s), else by force; frees. Returns its exit status, -1 after force. NULL: 0. */
QP_API int qp_gateway_stop(struct qp_gateway *gateway);

#ifdef __cplusplus
}
#endif

#endif
