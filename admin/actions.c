/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `quicport admin` that ask one thing and get one answer. Main
 * thread.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/table.h"
#include "common/file.h"

/* As the API bounds a request. */
#define CLIENT_MAX_BYTES 65536u

/* Calls, and shows the answer by `show`, or as JSON. Takes `args` over. */
static int
act(const struct qpa_command *c, const struct qpa_options *o, const char *call, json_t *args,
	void (*show)(const json_t *answer, const struct qpa_options *o))
{
	struct qp_errmsg msg = {""};
	struct qpa_api *api = NULL;
	json_t *answer = NULL;
	int err = qpa_api_open(o, &api, &msg);

	if (err == QP_OK)
		err = qpa_api_call(api, call, args, &answer, &msg);
	json_decref(args);
	qpa_api_close(api);
	if (err != QP_OK)
		return qpa_complain(c, err, &msg);
	if (o->json) {
		qpa_print_json(answer);
		putchar('\n');
	} else
		show(answer, o);
	json_decref(answer);
	return qpa_finish(c, QPA_EXIT_OK);
}

/* Exits when there are not `min` to `max` words; `what`: "one DP_ID". */
static void
parse(const struct qp_opt_command *cmd, int argc, char **argv, unsigned min, unsigned max,
	const char *what)
{
	unsigned n;

	qp_opt_parse_or_exit(cmd, argc, argv);
	n = cmd->positional != NULL ? cmd->positional->n : 0;
	if (n >= min && n <= max)
		return;
	fprintf(stderr, "%s: expected %s (%s --help)\n", cmd->name, what, cmd->name);
	exit(QPA_EXIT_USAGE);
}

static const char *
text_of(const json_t *answer, const char *key, char out[QPA_VALUE_BYTES])
{
	qpa_show(QPA_TEXT, json_object_get(answer, key), false, 0, out);
	return out;
}

static void
show_status(const json_t *answer, const struct qpa_options *o)
{
	char text[QPA_VALUE_BYTES];

	(void)o;
	puts(text_of(answer, "status", text));
}

/* Data planes. */

static const struct qpa_column status_fields[] = {
	{"data plane", "dp_id", QPA_TEXT}, {"state", "state", QPA_TEXT}, {"pid", "pid", QPA_COUNT},
	{"started", "started_at", QPA_UNIX}, {"workers", "workers", QPA_COUNT},
	{"tunnels", "active_tunnels", QPA_COUNT}, {"connections", "active_connections", QPA_COUNT},
	{"bytes in", "bytes_sent", QPA_BYTES}, {"bytes out", "bytes_received", QPA_BYTES}, {0},
};

static void
show_data_plane(const json_t *answer, const struct qpa_options *o)
{
	const struct qpa_table t = {.column = status_fields, .raw = o->raw};
	const json_t *drops = json_object_get(answer, "drops"), *count;
	const char *reason;

	qpa_table_write_one(&t, answer, stdout);
	if (json_object_size(drops) > 0)
		puts("packets dropped");
	json_object_foreach((json_t *)(uintptr_t)drops, reason, count)
	{
		char name[QPA_VALUE_BYTES], n[QPA_VALUE_BYTES];

		qpa_printable(reason, name, sizeof(name));
		qpa_show(QPA_COUNT, count, true, 0, n);
		printf("  %-40s %s\n", name, n);
	}
}

static int
get_data_plane_status(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), QPA_OPTION_RAW(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "DP_ID", .opts = opts,
		.summary = "Shows one data plane, and why it dropped packets.", .positional = &words};

	parse(&cmd, argc, argv, 1, 1, "one DP_ID, as list-data-planes shows them");
	return act(c, &o, "GetDataPlaneStatus", json_pack("{s:s}", "dp_id", words.v[0]), show_data_plane);
}

static int
drain_data_plane(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "DP_ID", .opts = opts,
		.summary = "Starts a new data plane for new tunnels. The one that is named keeps its "
			   "tunnels and their connections, and ends with the last of them.",
		.positional = &words};

	parse(&cmd, argc, argv, 1, 1, "one DP_ID, as list-data-planes shows them");
	return act(c, &o, "DrainDataPlane", json_pack("{s:s}", "dp_id", words.v[0]), show_status);
}

/* A question on the terminal; without one, --yes is what says so. */
static bool
is_sure(const char *question)
{
	char answer[16];

	if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
		return false;
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int
shutdown_data_plane(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	bool yes = false;
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("How:"),
		{.name = "yes", .letter = 'y', .env = "", .help = "without a question",
			.parse = qp_opt_flag, .value = &yes},
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "DP_ID", .opts = opts,
		.summary = "Ends a data plane with all its tunnels and their connections. Its clients "
			   "connect to the next one by themselves. drain-data-plane cuts nothing.",
		.positional = &words};

	parse(&cmd, argc, argv, 1, 1, "one DP_ID, as list-data-planes shows them");
	if (!yes && !is_sure("This cuts all its tunnels and connections. End it?")) {
		fprintf(stderr, "%s: nothing is done without a yes: --yes says it without a terminal\n",
			name);
		return QPA_EXIT_FAILED;
	}
	return act(c, &o, "ShutdownDataPlane", json_pack("{s:s}", "dp_id", words.v[0]), show_status);
}

/* Kick and block. */

/* "90", "90s", "15m", "12h", "7d": seconds. */
static int
parse_time(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	static const char letters[] = "smhd";
	static const unsigned long seconds[] = {1, 60, 3600, 86400};
	unsigned long n, unit = 1;
	const char *letter;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	letter = *end != '\0' ? strchr(letters, *end) : NULL;
	if (letter != NULL) {
		unit = seconds[letter - letters];
		end++;
	}
	if (!isdigit((unsigned char)text[0]) || errno != 0 || *end != '\0' || n == 0 ||
		n > 31536000 / unit)
		return qp_fail(msg, QP_E_INVAL, "a time such as 90s, 15m, 12h or 7d, 365d at most");
	*(uint32_t *)opt->value = (uint32_t)(n * unit);
	return QP_OK;
}

#define OPTION_REASON(value_)                                                                      \
	{.name = "reason", .arg = "TEXT", .env = "", .help = "for the log, and for the client",    \
		.parse = qp_opt_string, .value = (value_)}

static int
kick(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const char *reason = NULL;
	uint32_t block_s = 0;
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("How:"), OPTION_REASON(&reason),
		{.name = "block", .arg = "TIME", .env = "", .parse = parse_time, .value = &block_s,
			.help = "keep the client's address out for so long (90s, 15m, 12h, 7d)"},
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES], *end;
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "TUNNEL [CONNECTION]",
		.opts = opts, .positional = &words,
		.summary = "Ends a tunnel, or resets one of its connections. A client that is not "
			   "blocked connects again."};
	unsigned long long connection;
	json_t *args;

	parse(&cmd, argc, argv, 1, 2, "a TUNNEL, and perhaps one of its CONNECTIONs");
	args = json_pack("{s:s}", "tunnel_id", words.v[0]);
	if (words.n == 1) {
		if (reason != NULL)
			json_object_set_new(args, "reason", json_string(reason));
		if (block_s != 0)
			json_object_set_new(args, "block_seconds", json_integer(block_s));
		return act(c, &o, "KickTunnel", args, show_status);
	}
	connection = strtoull(words.v[1], &end, 10);
	if (!isdigit((unsigned char)words.v[1][0]) || *end != '\0' || connection > UINT32_MAX ||
		reason != NULL || block_s != 0) {
		json_decref(args);
		fprintf(stderr, "%s: a CONNECTION is a number, as list-connections shows them; --reason "
				"and --block are for tunnels\n", name);
		return QPA_EXIT_USAGE;
	}
	json_object_set_new(args, "connection_id", json_integer((json_int_t)connection));
	return act(c, &o, "KickConnection", args, show_status);
}

static int
block(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const char *reason = NULL;
	uint32_t seconds = 0;
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("How:"),
		{.name = "for", .arg = "TIME", .env = "", .parse = parse_time, .value = &seconds,
			.help = "for so long (90s, 15m, 12h, 7d); else until it is unblocked"},
		OPTION_REASON(&reason), QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "SOURCE", .opts = opts,
		.summary = "Drops all packets that come from an address or a network, those of "
			   "connections that are there included.",
		.positional = &words};
	json_t *args;

	parse(&cmd, argc, argv, 1, 1, "one SOURCE: an address, or a network as ADDRESS/BITS");
	args = json_pack("{s:s}", "source", words.v[0]);
	if (seconds != 0)
		json_object_set_new(args, "seconds", json_integer(seconds));
	if (reason != NULL)
		json_object_set_new(args, "reason", json_string(reason));
	return act(c, &o, "BlockSource", args, show_status);
}

static int
unblock(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "SOURCE", .opts = opts,
		.summary = "Lets an address or a network in again that was blocked.", .positional = &words};

	parse(&cmd, argc, argv, 1, 1, "one SOURCE, as list-blocked shows them");
	return act(c, &o, "UnblockSource", json_pack("{s:s}", "source", words.v[0]), show_status);
}

/* Clients. */

static const struct qpa_column client_fields[] = {
	{"name", "name", QPA_TEXT}, {"kind", "kind", QPA_TEXT}, {"group", "group", QPA_TEXT},
	{"origin", "origin", QPA_TEXT}, {"public keys", "public_keys", QPA_WORDS},
	{"tunnels now", "tunnels_now", QPA_COUNT}, {"ports", "ports", QPA_WORDS},
	{"local forwards", "local_forwards", QPA_WORDS}, {"sources", "sources", QPA_WORDS},
	{"tunnels", "tunnels", QPA_LIMIT}, {"forwards", "forwards", QPA_LIMIT},
	{"connections", "connections", QPA_LIMIT}, {"connections/s", "connections_per_second", QPA_LIMIT},
	{"bits/s in", "bandwidth_in", QPA_BITS}, {"bits/s out", "bandwidth_out", QPA_BITS},
	{"expires", "expires", QPA_TEXT}, {0},
};

static void
show_client(const json_t *answer, const struct qpa_options *o)
{
	const struct qpa_table t = {.column = client_fields, .raw = o->raw};

	if (json_is_string(json_object_get(answer, "status")))
		show_status(answer, o);
	qpa_table_write_one(&t, json_object_get(answer, "client"), stdout);
}

static int
get_client(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), QPA_OPTION_RAW(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "NAME", .opts = opts,
		.summary = "Shows a client, and what it may do.", .positional = &words};

	parse(&cmd, argc, argv, 1, 1, "one NAME, as list-clients shows them");
	return act(c, &o, "GetClient", json_pack("{s:s}", "name", words.v[0]), show_client);
}

static int
put_client(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), QPA_OPTION_RAW(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "FILE", .opts = opts,
		.summary = "Writes a client, or writes it anew, from a JSON file with the fields that "
			   "get-client --json shows: name, public_key or psk, ports, tunnels, …",
		.epilogue = "Example of a file:\n"
			    "  {\"name\": \"alice\", \"public_key\": \"…\", \"ports\": [\"9000-9099/tcp\"]}\n",
		.positional = &words};
	struct qp_errmsg msg = {""};
	json_error_t place;
	json_t *client;
	char *text;
	size_t len;
	int err;

	parse(&cmd, argc, argv, 1, 1, "one FILE");
	err = qp_file_read(words.v[0], CLIENT_MAX_BYTES, &text, &len, NULL, &msg);
	if (err != QP_OK)
		return qpa_complain(c, err, &msg);
	client = json_loadb(text, len, JSON_REJECT_DUPLICATES, &place);
	qp_file_free(text);
	if (!json_is_object(client)) {
		json_decref(client);
		err = qp_fail(&msg, QP_E_INVAL, "%s: line %d: expected a JSON object", words.v[0],
			client == NULL ? place.line : 1);
		return qpa_complain(c, err, &msg);
	}
	return act(c, &o, "PutClient", client, show_client);
}

static int
delete_client(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "NAME", .opts = opts,
		.summary = "Removes a client that put-client has written. Its tunnels end.",
		.positional = &words};

	parse(&cmd, argc, argv, 1, 1, "one NAME, as list-clients shows them");
	return act(c, &o, "DeleteClient", json_pack("{s:s}", "name", words.v[0]), show_status);
}

/* The control plane. */

static void
show_reload(const json_t *answer, const struct qpa_options *o)
{
	char text[QPA_VALUE_BYTES];

	show_status(answer, o);
	if (json_is_string(json_object_get(answer, "detail")))
		puts(text_of(answer, "detail", text));
}

static int
reload(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Has the control plane read its configuration again. A file that is wrong "
			   "changes nothing, and its mistake is told."};

	parse(&cmd, argc, argv, 0, 0, "no argument");
	return act(c, &o, "ReloadConfig", NULL, show_reload);
}

static void
show_config(const json_t *answer, const struct qpa_options *o)
{
	static const struct qpa_column columns[] = {{"NAME", "name", QPA_TEXT},
		{"VALUE", "value", QPA_ANY}, {"FROM", "source", QPA_TEXT}, {"PLACE", "place", QPA_TEXT}, {0}};
	struct qpa_table t = {.column = columns, .raw = o->raw};

	qpa_table_write(&t, json_object_get(answer, "settings"), stdout);
}

static int
get_config(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Shows the control plane's settings, and where each comes from."};

	parse(&cmd, argc, argv, 0, 0, "no argument");
	return act(c, &o, "GetConfig", NULL, show_config);
}

static void
show_levels(const json_t *answer, const struct qpa_options *o)
{
	const json_t *modules = json_object_get(answer, "modules"), *level;
	char text[QPA_VALUE_BYTES], name[QPA_VALUE_BYTES];
	const char *module;

	(void)o;
	json_object_foreach((json_t *)(uintptr_t)modules, module, level)
	{
		qpa_printable(module, name, sizeof(name));
		qpa_show(QPA_TEXT, level, false, 0, text);
		printf("%-12s %s\n", name, text);
	}
}

/* "debug" of all modules, "auth=debug" of one. */
static json_t *
level_args(const char *text)
{
	const char *equals = strchr(text, '=');

	if (equals == NULL)
		return json_pack("{s:s}", "level", text);
	return json_pack("{s:s%, s:s}", "module", text, (size_t)(equals - text), "level", equals + 1);
}

static int
log_level(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "[[MODULE=]LEVEL]",
		.opts = opts, .positional = &words,
		.summary = "Shows how much each module of the control plane logs, or sets it until it "
			   "ends, of all or of one: error, warn, info, debug or trace."};

	parse(&cmd, argc, argv, 0, 1, "one [MODULE=]LEVEL at most");
	if (words.n == 0)
		return act(c, &o, "GetLogLevels", NULL, show_levels);
	return act(c, &o, "SetLogLevel", level_args(words.v[0]), show_levels);
}

const struct qpa_command qpa_actions[] = {
	{"get-data-plane-status", "one data plane, and why it dropped packets", get_data_plane_status, NULL},
	{"drain-data-plane", "new tunnels to a new data plane; nothing is cut", drain_data_plane, NULL},
	{"shutdown-data-plane", "end a data plane with all its tunnels", shutdown_data_plane, NULL},
	{"kick", "end a tunnel, or reset a connection", kick, NULL},
	{"block", "drop what comes from an address or a network", block, NULL},
	{"unblock", "let it in again", unblock, NULL},
	{"get-client", "what a client may do", get_client, NULL},
	{"put-client", "write a client", put_client, NULL},
	{"delete-client", "remove a client that was written so", delete_client, NULL},
	{"reload", "read the configuration again", reload, NULL},
	{"get-config", "the settings, and where each comes from", get_config, NULL},
	{"log-level", "show or set how much is logged", log_level, NULL},
	{0},
};
