/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `quicport admin` that ask one thing and get one answer: data
 * planes, tunnels, connections, sources. Main thread.
 */
#include "admin/actions_impl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/table.h"

int
qpa_act(const struct qpa_command *c, const struct qpa_options *o, const char *call, json_t *args,
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

void
qpa_act_parse(const struct qp_opt_command *cmd, int argc, char **argv, unsigned min, unsigned max,
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

const char *
qpa_text_of(const json_t *answer, const char *key, char out[QPA_VALUE_BYTES])
{
	qpa_show(QPA_TEXT, json_object_get(answer, key), false, 0, out);
	return out;
}

void
qpa_show_status(const json_t *answer, const struct qpa_options *o)
{
	char text[QPA_VALUE_BYTES];

	(void)o;
	puts(qpa_text_of(answer, "status", text));
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

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one DP_ID, as list-data-planes shows them");
	return qpa_act(c, &o, "GetDataPlaneStatus", json_pack("{s:s}", "dp_id", words.v[0]), show_data_plane);
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
		.summary = "Has the configuration read again and a new data plane started, for new "
			   "tunnels. The one that is named keeps its tunnels and their connections, "
			   "and ends with the last of them.",
		.positional = &words};

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one DP_ID, as list-data-planes shows them");
	return qpa_act(c, &o, "DrainDataPlane", json_pack("{s:s}", "dp_id", words.v[0]), qpa_show_status);
}

static bool
ask(const char *question)
{
	char answer[16];

	if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
		return false;
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

/* A question on the terminal; without one, --yes is what says so. */
static bool
is_sure(const char *command, bool yes, const char *question)
{
	if (yes || ask(question))
		return true;
	fprintf(stderr, "%s: nothing is done without a yes: --yes says it without a terminal\n", command);
	return false;
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

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one DP_ID, as list-data-planes shows them");
	if (!is_sure(name, yes, "This cuts all its tunnels and connections. End it?"))
		return QPA_EXIT_FAILED;
	return qpa_act(c, &o, "ShutdownDataPlane", json_pack("{s:s}", "dp_id", words.v[0]), qpa_show_status);
}

static int
replace_port_owner(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	bool yes = false;
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("How:"),
		{.name = "yes", .letter = 'y', .env = "", .help = "without a question",
			.parse = qp_opt_flag, .value = &yes},
		QPA_OPTION_JSON(&o), {0}};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Ends all tunnels with all their connections, all data planes and the port "
			   "owner, and starts them anew within seconds. Clients connect again by "
			   "themselves and get their ports back."};

	qpa_act_parse(&cmd, argc, argv, 0, 0, "no argument");
	if (!is_sure(name, yes, "This cuts all tunnels and connections of the gateway. Replace it?"))
		return QPA_EXIT_FAILED;
	return qpa_act(c, &o, "ReplacePortOwner", NULL, qpa_show_status);
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

	qpa_act_parse(&cmd, argc, argv, 1, 2, "a TUNNEL, and perhaps one of its CONNECTIONs");
	args = json_pack("{s:s}", "tunnel_id", words.v[0]);
	if (words.n == 1) {
		if (reason != NULL)
			json_object_set_new(args, "reason", json_string(reason));
		if (block_s != 0)
			json_object_set_new(args, "block_seconds", json_integer(block_s));
		return qpa_act(c, &o, "KickTunnel", args, qpa_show_status);
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
	return qpa_act(c, &o, "KickConnection", args, qpa_show_status);
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

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one SOURCE: an address, or a network as ADDRESS/BITS");
	args = json_pack("{s:s}", "source", words.v[0]);
	if (seconds != 0)
		json_object_set_new(args, "seconds", json_integer(seconds));
	if (reason != NULL)
		json_object_set_new(args, "reason", json_string(reason));
	return qpa_act(c, &o, "BlockSource", args, qpa_show_status);
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

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one SOURCE, as list-blocked shows them");
	return qpa_act(c, &o, "UnblockSource", json_pack("{s:s}", "source", words.v[0]), qpa_show_status);
}

const struct qpa_command qpa_actions[] = {
	{"get-data-plane-status", "one data plane, and why it dropped packets", get_data_plane_status, NULL},
	{"drain-data-plane", "new tunnels to a new data plane; nothing is cut", drain_data_plane, NULL},
	{"shutdown-data-plane", "end a data plane with all its tunnels", shutdown_data_plane, NULL},
	{"replace-port-owner", "end and start anew all but the control plane", replace_port_owner, NULL},
	{"kick", "end a tunnel, or reset a connection", kick, NULL},
	{"block", "drop what comes from an address or a network", block, NULL},
	{"unblock", "let it in again", unblock, NULL},
	{"get-client", "what a client may do", qpa_get_client_run, NULL},
	{"put-client", "write a client", qpa_put_client_run, NULL},
	{"delete-client", "remove a client that was written so", qpa_delete_client_run, NULL},
	{"reload", "read the configuration again", qpa_reload_run, NULL},
	{"get-config", "the settings, and where each comes from", qpa_get_config_run, NULL},
	{"log-level", "show or set how much is logged", qpa_log_level_run, NULL},
	{0},
};
