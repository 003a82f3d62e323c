/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of `quicport admin` about who may connect, and about the control
 * plane itself. Main thread.
 */
#include "admin/actions_impl.h"

#include <stdio.h>
#include <string.h>

#include "admin/table.h"
#include "common/file.h"

/* As the API bounds a request. */
#define CLIENT_MAX_BYTES 65536u

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
		qpa_show_status(answer, o);
	qpa_table_write_one(&t, json_object_get(answer, "client"), stdout);
}

int
qpa_get_client_run(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), QPA_OPTION_RAW(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "NAME", .opts = opts,
		.summary = "Shows a client, and what it may do.", .positional = &words};

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one NAME, as list-clients shows them");
	return qpa_act(c, &o, "GetClient", json_pack("{s:s}", "name", words.v[0]), show_client);
}

int
qpa_put_client_run(const struct qpa_command *c, int argc, char **argv)
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

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one FILE");
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
	return qpa_act(c, &o, "PutClient", client, show_client);
}

int
qpa_delete_client_run(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .args = "NAME", .opts = opts,
		.summary = "Removes a client that put-client has written. Its tunnels end.",
		.positional = &words};

	qpa_act_parse(&cmd, argc, argv, 1, 1, "one NAME, as list-clients shows them");
	return qpa_act(c, &o, "DeleteClient", json_pack("{s:s}", "name", words.v[0]), qpa_show_status);
}

/* The control plane. */

static void
show_reload(const json_t *answer, const struct qpa_options *o)
{
	char text[QPA_VALUE_BYTES];

	qpa_show_status(answer, o);
	if (json_is_string(json_object_get(answer, "detail")))
		puts(qpa_text_of(answer, "detail", text));
}

int
qpa_reload_run(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Has the control plane read its configuration again. A file that is wrong "
			   "changes nothing, and its mistake is told."};

	qpa_act_parse(&cmd, argc, argv, 0, 0, "no argument");
	return qpa_act(c, &o, "ReloadConfig", NULL, show_reload);
}

static void
show_config(const json_t *answer, const struct qpa_options *o)
{
	static const struct qpa_column columns[] = {{"NAME", "name", QPA_TEXT},
		{"VALUE", "value", QPA_ANY}, {"FROM", "source", QPA_TEXT}, {"PLACE", "place", QPA_TEXT}, {0}};
	struct qpa_table t = {.column = columns, .raw = o->raw};

	qpa_table_write(&t, json_object_get(answer, "settings"), stdout);
}

int
qpa_get_config_run(const struct qpa_command *c, int argc, char **argv)
{
	struct qpa_options o = {0};
	const struct qp_opt opts[] = {QPA_OPTIONS_API(&o), QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&o), {0}};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Shows the control plane's settings, and where each comes from."};

	qpa_act_parse(&cmd, argc, argv, 0, 0, "no argument");
	return qpa_act(c, &o, "GetConfig", NULL, show_config);
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

int
qpa_log_level_run(const struct qpa_command *c, int argc, char **argv)
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

	qpa_act_parse(&cmd, argc, argv, 0, 1, "one [MODULE=]LEVEL at most");
	if (words.n == 0)
		return qpa_act(c, &o, "GetLogLevels", NULL, show_levels);
	return qpa_act(c, &o, "SetLogLevel", level_args(words.v[0]), show_levels);
}
