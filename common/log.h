/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_LOG_H
#define QP_COMMON_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/error.h"
#include "common/text.h"

/*
 * The log: an event a line, with typed fields.
 *
 *	qp_log(QP_LOG_INFO, "port opened", QP_LOG_U64("port", port),
 *		QP_LOG_KEY("client", key), QP_LOG_ADDR("peer", sa));
 *
 * console: 2026-01-02T03:04:05.678Z INFO  control-plane: port opened port=9000 client=IexqQqW8…
 * json:    {"time":"2026-01-02T03:04:05.678Z","level":"info","process":"control-plane",
 *           "module":"ports","message":"port opened","port":9000,"client":"IexqQqW8…"}
 * journal: MESSAGE=port opened port=9000 …, PRIORITY, QUICPORT_MODULE, QUICPORT_PORT=9000, …
 *
 * A data plane's lines name their generation too.
 *
 * Any thread, no lock: a line is built on the stack and written by one
 * write(2) of at most QP_LOG_LINE_BYTES (what a pipe takes in one piece), to a
 * descriptor in append mode. Text of a peer may be given as it is: control
 * characters and broken UTF-8 are escaped, long text is cut. Secrets have no
 * macro here. Not for the packet path.
 *
 * Before qp_log_init: console to stderr, level info, the program's own name.
 */
#define QP_LOG_LINE_BYTES 4096u

enum qp_log_level {
	QP_LOG_ERROR = 0, /* something does not work; a person must look */
	QP_LOG_WARN = 1,  /* it works, not as it should */
	QP_LOG_INFO = 2,  /* what an operator wants to read afterwards */
	QP_LOG_DEBUG = 3, /* each tunnel and connection */
	QP_LOG_TRACE = 4, /* each message */
};

enum qp_log_format {
	QP_LOG_CONSOLE = 0,
	QP_LOG_JSON = 1,
};

/*
 * Parts of the program, each with a level of its own. A file belongs to the one
 * that it defines as QP_LOG_MODULE before it includes this header.
 * X(name, what it tells of)
 */
#define QP_LOG_MODULES(X)                                                                          \
	X(general, "what belongs to none of the others")                                           \
	X(config, "options and files, reload")                                                     \
	X(auth, "who comes, and who is refused")                                                   \
	X(policy, "what clients may do, and what follows from a change")                           \
	X(ports, "ports opened, closed, leased")                                                   \
	X(local, "local forwards and their names")                                                 \
	X(http, "the private and the public API")                                                  \
	X(host, "interfaces, classifier, port reservations")                                       \
	X(process, "data planes and the port owner: start, attach, end")                           \
	X(worker, "the packet path")                                                               \
	X(client, "the client")

enum qp_log_module {
#define X(name, help) QP_LOG_M_##name,
	QP_LOG_MODULES(X)
#undef X
	QP_LOG_NMODULES
};

#ifndef QP_LOG_MODULE
#define QP_LOG_MODULE QP_LOG_M_general
#endif

struct qp_log_config {
	const char *process;       /* "control-plane", "data-plane", …; copied; NULL: program name */
	enum qp_log_level level;
	uint8_t module[QP_LOG_NMODULES]; /* a module's own level, plus 1; 0: as `level` */
	enum qp_log_format format;
	/*
	 * A file to append to (made 0640), "stdout", "stderr" or "journald"; NULL:
	 * stderr, or the journal when stderr leads there (JOURNAL_STREAM).
	 */
	const char *output;
	unsigned rate;             /* lines a second from one place in the program; 0: no limit */
};

#define QP_LOG_RATE 100u
#define QP_LOG_CONFIG_DEFAULT(name)                                                                \
	((struct qp_log_config) {.process = (name), .level = QP_LOG_INFO, .rate = QP_LOG_RATE})

/*
 * Sets up, or sets up anew (a line that is being written meanwhile may still go
 * to the old place). On failure (the file cannot be opened) nothing changes.
 */
int qp_log_init(const struct qp_log_config *cfg, struct qp_errmsg *msg);
/*
 * How this program writes to the journal: libsystemd's sd_journal_sendv, which
 * a library in somebody else's program need not link. Before qp_log_init.
 */
void qp_log_use_journal(int (*sendv)(const struct iovec *iov, int n));
/* Opens the file anew after it was renamed; nothing to do elsewhere. A failure changes nothing. */
int qp_log_reopen(struct qp_errmsg *msg);
/* Which data plane the lines are of; it learns its id late. 0: none. */
void qp_log_set_generation(uint32_t server_id);
/* Of all modules. */
void qp_log_set_level(enum qp_log_level level);
void qp_log_set_module_level(enum qp_log_module module, enum qp_log_level level);
enum qp_log_level qp_log_module_level(enum qp_log_module module);
const char *qp_log_module_name(enum qp_log_module module);
/* QP_E_INVAL. */
int qp_log_module_parse(const char *text, enum qp_log_module *module);
/*
 * "info", or "warn,auth=debug,ports=trace", into level and module of `cfg`.
 * QP_E_INVAL, and msg says what was expected; `cfg` is as before then.
 */
int qp_log_levels_parse(const char *text, struct qp_log_config *cfg, struct qp_errmsg *msg);
/* What was parsed becomes this process's. */
void qp_log_apply_levels(const struct qp_log_config *cfg);
/* The other way round: of this process, now. */
#define QP_LOG_LEVELS_BYTES 256u
const char *qp_log_levels_text(char out[QP_LOG_LEVELS_BYTES]);

/* "error" … "trace"; "console", "json". QP_E_INVAL otherwise. */
int qp_log_level_parse(const char *text, enum qp_log_level *level);
int qp_log_format_parse(const char *text, enum qp_log_format *format);
const char *qp_log_level_name(enum qp_log_level level);
const char *qp_log_format_name(enum qp_log_format format);

enum qp_log_type {
	QP_LOG_T_END = 0,
	QP_LOG_T_SLICE,
	QP_LOG_T_U64,
	QP_LOG_T_I64,
	QP_LOG_T_HEX,
	QP_LOG_T_F64,
	QP_LOG_T_BOOL,
	QP_LOG_T_ADDR,
	QP_LOG_T_KEY,
	QP_LOG_T_ERR,
	QP_LOG_T_ERRNO,
};

/* Made by the macros below. Values are borrowed for the call. */
struct qp_log_field {
	const char *name; /* lower case and underscores; not time, level, process, module, message */
	enum qp_log_type type;
	union {
		struct qp_slice slice;
		uint64_t u64;
		int64_t i64;
		double f64;
		bool b;
		const void *ptr;
	};
};

/* A C string; NULL prints as null. */
#define QP_LOG_STR(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_SLICE, .slice = qp_slice_of(v)})
/* Bytes of a peer, not terminated. */
#define QP_LOG_SLICE(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_SLICE, .slice = (v)})
#define QP_LOG_U64(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_U64, .u64 = (v)})
#define QP_LOG_I64(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_I64, .i64 = (v)})
/* A number as "0x3039", four digits at least (ids, as the API writes them). */
#define QP_LOG_HEX(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_HEX, .u64 = (v)})
#define QP_LOG_F64(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_F64, .f64 = (v)})
#define QP_LOG_BOOL(n, v) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_BOOL, .b = (v)})
/* const struct sockaddr *, AF_INET or AF_INET6 (v4-mapped prints as v4). */
#define QP_LOG_ADDR(n, sa) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_ADDR, .ptr = (sa)})
/* 32 bytes of a public key, in Base64. */
#define QP_LOG_KEY(n, key) ((struct qp_log_field) {.name = (n), .type = QP_LOG_T_KEY, .ptr = (key)})
/* A code of enum qp_err, in words. */
#define QP_LOG_ERR(v) ((struct qp_log_field) {.name = "error", .type = QP_LOG_T_ERR, .i64 = (v)})
/* An errno value, in words. */
#define QP_LOG_ERRNO(v) ((struct qp_log_field) {.name = "error", .type = QP_LOG_T_ERRNO, .i64 = (v)})

/*
 * This thread's lines go to a function instead, as long as a tap is set: for a
 * library in somebody else's program. Borrowed.
 */
struct qp_log_tap {
	enum qp_log_level level;
	enum qp_log_format format;
	bool bare;           /* console: without time, level and process */
	const char *process;
	/* `line` ends without a newline; must not log. */
	void (*write)(void *ctx, enum qp_log_level level, const char *line);
	void *ctx;
};
extern _Thread_local const struct qp_log_tap *qp_log_tap;

/* Relaxed: a change of level may reach another thread a line late. */
extern _Atomic int qp_log_threshold[QP_LOG_NMODULES];

static inline bool
qp_log_enabled(enum qp_log_module module, enum qp_log_level level)
{
	if (qp_log_tap != NULL)
		return level <= qp_log_tap->level;
	return (int)level <= atomic_load_explicit(&qp_log_threshold[module], memory_order_relaxed);
}

/*
 * A place in the program that logs. Its lines of one second are counted, so
 * that a flood of one event hides no other; what was left out is told by the
 * next line. Any thread: a second's first line may be counted twice.
 */
struct qp_log_site {
	enum qp_log_module module;
	_Atomic uint32_t second;
	_Atomic uint32_t lines; /* in it */
	_Atomic uint32_t left_out;
};

/* Keeps errno. `fields` ends with one of type QP_LOG_T_END. Call it through qp_log. */
void qp_log_write(struct qp_log_site *site, enum qp_log_level level, const char *message,
	const struct qp_log_field *fields);

/* A line that is finished already (a tap's, from elsewhere): to where this process's lines go. */
void qp_log_pass(enum qp_log_level level, const char *line);

/* Lines of this process that their file did not take, since the start. */
uint64_t qp_log_lines_lost(void);

/* Fields are evaluated only when the level is on. */
#define qp_log(level, message, ...)                                                                \
	do {                                                                                       \
		static struct qp_log_site qp_log_site_ = {.module = QP_LOG_MODULE};                \
		if (qp_log_enabled(QP_LOG_MODULE, level))                                          \
			qp_log_write(&qp_log_site_, (level), (message),                            \
				(const struct qp_log_field[]) {                                    \
					__VA_ARGS__ __VA_OPT__(, ){.type = QP_LOG_T_END}});        \
	} while (0)

#endif
