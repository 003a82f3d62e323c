/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_OPT_H
#define QP_COMMON_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/addr.h"
#include "common/error.h"
#include "common/keys.h"
#include "common/log.h"

/*
 * Command lines, on top of argp. Every option NAME is also the environment
 * variable QUICPORT_NAME (upper case, - becomes _); an option wins over its
 * variable, the variable over a configuration file (if the command reads one),
 * that over the default. An empty variable counts as unset.
 *
 *	struct qp_log_config log = QP_LOG_CONFIG_DEFAULT("control-plane");
 *	const char *addr; bool quiet = false; uint32_t idle;
 *	const struct qp_opt opts[] = {
 *		QP_OPT_GROUP("Addresses:"),
 *		{.name = "data-plane-addr", .arg = "ADDR:PORT", .fallback = "0.0.0.0:39000",
 *			.help = "where clients reach the gateway", .parse = qp_opt_string, .value = &addr},
 *		{.name = "quic-idle-timeout", .arg = "SECONDS", .fallback = "90", .min = 1, .max = 86400,
 *			.help = "…", .parse = qp_opt_u32, .value = &idle},
 *		{.name = "no-public-api", .help = "…", .parse = qp_opt_flag, .value = &quiet},
 *		QP_OPT_LOG(&log),
 *		{0},
 *	};
 *
 * Any thread, at the start of a process.
 */
struct qp_opt {
	const char *name;     /* long name without dashes; NULL with help: a group's heading */
	char letter;          /* short option, or 0 */
	const char *arg;      /* how --help calls its value; NULL: a flag */
	const char *help;     /* lower case, no full stop */
	const char *fallback; /* parsed when neither option nor variable is there; NULL: nothing is */
	const char *env;      /* only if the variable is not QUICPORT_NAME; "": none */
	bool repeat;          /* parse is called for each; the variable is split at commas */
	/*
	 * Never shown; wiped from argv (whose strings must be writable, as main's
	 * are) and from the environment once parsed: the parser must copy.
	 */
	bool secret;
	bool hidden;          /* not in --help */
	bool not_in_file;     /* of the command line and the environment alone */
	/*
	 * Takes one value. Failure: QP_E_INVAL, and msg says what was expected,
	 * lower case, nothing else ("a number from 1 to 86400"). Flags: "1".
	 */
	int (*parse)(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
	void *value;          /* where parse puts it */
	uint64_t min, max;    /* for qp_opt_u32, qp_opt_u64 */
	const char *const *choices; /* for qp_opt_choice: names, NULL at the end */
	bool *given;          /* NULL, or set to whether option, variable or file had it */
};

#define QP_OPT_GROUP(heading) {.help = (heading)}

/* --log-level (QUICPORT_LOG), --log-format, --log-output into a struct qp_log_config. */
#define QP_OPT_LOG(cfg)                                                                            \
	QP_OPT_GROUP("Log:"),                                                                      \
	{.name = "log-level", .arg = "LEVEL", .fallback = "info", .env = "QUICPORT_LOG",           \
		.help = "error, warn, info, debug or trace; a module's own after a comma: "        \
			"info,auth=debug",                                                         \
		.parse = qp_opt_log_level, .value = (cfg)},                                        \
	{.name = "log-format", .arg = "FORMAT", .fallback = "console",                             \
		.help = "console, or json: one object a line", .parse = qp_opt_log_format,         \
		.value = &(cfg)->format},                                                          \
	{.name = "log-output", .arg = "FILE",                                                      \
		.help = "append to FILE instead of writing to standard error; stdout and journald " \
			"(not of the client) are possible, too",                                   \
		.parse = qp_opt_string, .value = &(cfg)->output}

/* Parsers. The type of *value is in brackets. */
int qp_opt_string(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [const char *] borrowed for the process's life */
int qp_opt_flag(const struct qp_opt *, const char *, struct qp_errmsg *);    /* [bool] 1 true yes on, 0 false no off */
int qp_opt_u32(const struct qp_opt *, const char *, struct qp_errmsg *);     /* [uint32_t] min … max; max 0: UINT32_MAX */
int qp_opt_u64(const struct qp_opt *, const char *, struct qp_errmsg *);     /* [uint64_t] the same; max 0: UINT64_MAX */
int qp_opt_choice(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [int] index into choices */
int qp_opt_secret(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [struct qp_secret *] the text; set .secret as well */
int qp_opt_listen(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [struct qp_sockaddr] ADDR:PORT, numeric */
int qp_opt_server(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [struct qp_target] HOST:PORT */
int qp_opt_target(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [struct qp_target] [ADDR:]PORT[/PROTO] */
int qp_opt_port(const struct qp_opt *, const char *, struct qp_errmsg *);    /* [struct qp_target] PORT[/PROTO] */
int qp_opt_ip(const struct qp_opt *, const char *, struct qp_errmsg *);      /* [struct in6_addr] v4-mapped */
int qp_opt_strings(const struct qp_opt *, const char *, struct qp_errmsg *); /* [struct qp_opt_strings] with .repeat */
int qp_opt_log_level(const struct qp_opt *, const char *, struct qp_errmsg *);  /* [struct qp_log_config] its levels */
int qp_opt_log_format(const struct qp_opt *, const char *, struct qp_errmsg *);

#define QP_OPT_MAX_STRINGS 64u
struct qp_opt_strings {
	unsigned n;
	const char *v[QP_OPT_MAX_STRINGS]; /* live as long as the process */
};

/* What a configuration file says of an option; one for each value of a repeated one. */
struct qp_opt_value {
	const char *name; /* the option's, as the file has it: it may be unknown */
	const char *text; /* borrowed until the parse is over */
	const char *file;
	unsigned line;
};

/* Where an option's value came from; the first wins. */
enum qp_opt_origin {
	QP_OPT_FROM_LINE,
	QP_OPT_FROM_ENV,
	QP_OPT_FROM_FILE,
	QP_OPT_FROM_DEFAULT,
};

/* A command that reads a configuration file. */
struct qp_opt_source {
	/*
	 * Called once command line and variables are taken: `*v` gets what the file
	 * says, borrowed until the parse is over. An error ends the parse.
	 */
	int (*read)(void *ctx, const struct qp_opt_value **v, size_t *n, struct qp_errmsg *msg);
	/* NULL, or told of each mistake among the values: "FILE:LINE: …". */
	void (*mistake)(void *ctx, const struct qp_errmsg *msg);
	/*
	 * NULL, or told of each value that counts, borrowed; of secrets, too. `place`:
	 * "FILE:LINE", the variable's name, or "".
	 */
	void (*value)(void *ctx, const struct qp_opt *opt, enum qp_opt_origin origin,
		const char *place, const char *text);
	void *ctx;
	/*
	 * The same words once more, after a reload: secrets are wiped from them and
	 * from the environment, so those that `*given` says were there are left out.
	 */
	bool again;
};

struct qp_opt_command {
	const char *name;         /* "quicport control-plane": in help, and before an error */
	const char *summary;      /* one or two sentences for --help */
	const char *args;         /* how --help calls positional arguments; NULL: none are taken */
	const char *epilogue;     /* NULL, or text after the options (files, examples) */
	const struct qp_opt *opts; /* ends with {0} */
	struct qp_opt_strings *positional; /* gets the positional arguments; NULL: they are an error */
	const struct qp_opt_source *source; /* NULL: no configuration file */
};

enum {
	QP_OPT_DONE = 1, /* --help or --version was printed: exit with 0 */
};

/*
 * Parses. argv[0] is the command itself and is not looked at. 0; QP_OPT_DONE;
 * or QP_E_INVAL with one line in msg that names option or variable, value and
 * what was expected. --help, --version (QP_VERSION) are always there. A `--`
 * ends the options.
 */
int qp_opt_parse(const struct qp_opt_command *cmd, int argc, char **argv, struct qp_errmsg *msg);

/* The same text for the process's life, kept once however often it comes. NULL: out of memory. */
const char *qp_opt_keep(const char *text);

/*
 * "--log-format json client …" becomes "client --log-format json …": options
 * that stand before the command's word move behind it. argv[0] is the first
 * word. `valued` have a value, in the same word after "=" or in the next;
 * `flags` have none; both end with NULL. The command's word; NULL: there is none.
 */
char *qp_opt_command_first(
	int argc, char **argv, const char *const *valued, const char *const *flags);

/* The --help page, at most 80 columns wide. */
void qp_opt_help(const struct qp_opt_command *cmd, FILE *to);

/* The same as qp_opt_parse, and exits: 0 after --help, 2 with "NAME: msg" on stderr after an error. */
void qp_opt_parse_or_exit(const struct qp_opt_command *cmd, int argc, char **argv);

#endif
