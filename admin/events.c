/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport admin events`: follows the gateway's event stream. Main thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/show.h"
#include "admin/sse.h"

#define BOLD "\x1b[1m"
#define PLAIN "\x1b[0m"
#define RETRY_S 1

struct follow {
	struct qpa_options o;
	struct qp_opt_strings types; /* empty: all but stats */
	uint32_t count;              /* so many, then the end; 0: for ever */
	uint32_t seen;
	bool reconnect;
	bool bad; /* an event that was no JSON object */
};

static bool
wanted(const struct follow *f, const char *type)
{
	if (f->types.n == 0)
		return strcmp(type, "stats") != 0;
	for (unsigned i = 0; i < f->types.n; i++) {
		if (strcmp(f->types.v[i], type) == 0)
			return true;
	}
	return false;
}

/* "2026-11-26T01:02:03.123Z" */
static void
time_of(const json_t *data, char out[40])
{
	json_int_t ms = json_integer_value(json_object_get(data, "time_ms"));
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	char text[32];

	if (ms < 0 || gmtime_r(&t, &tm) == NULL || strftime(text, sizeof(text), "%FT%T", &tm) == 0)
		snprintf(text, sizeof(text), "-");
	snprintf(out, 40, "%s.%03dZ", text, (int)(ms % 1000 < 0 ? 0 : ms % 1000));
}

static void
print_for_people(const struct follow *f, const char *type, json_t *data)
{
	char when[40], shown[QPA_VALUE_BYTES];
	const char *key;
	json_t *value;

	time_of(data, when);
	qpa_printable(type, shown, sizeof(shown));
	printf("%s  %s%-13s%s", when, qpa_show_has_colors() ? BOLD : "", shown,
		qpa_show_has_colors() ? PLAIN : "");
	json_object_foreach(data, key, value)
	{
		bool is_bytes = strncmp(key, "bytes_", 6) == 0 && json_is_integer(value);

		if (strcmp(key, "time_ms") == 0)
			continue;
		qpa_printable(key, shown, 64);
		printf("  %s=", shown);
		qpa_show(is_bytes ? QPA_BYTES : QPA_ANY, value, f->o.raw, 0, shown);
		fputs(shown, stdout);
	}
	putchar('\n');
}

static void
print_for_programs(const char *type, json_t *data)
{
	json_t *line = json_pack("{s:s}", "event", type);

	/* A type that is not UTF-8 is no event of ours. */
	if (line != NULL && json_object_update_missing(line, data) == 0) {
		json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		putchar('\n');
	}
	json_decref(line);
}

static bool
on_event(void *ctx, const char *type, const char *text)
{
	struct follow *f = ctx;
	json_t *data;

	if (!wanted(f, type))
		return true;
	data = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	f->bad = !json_is_object(data);
	if (!f->bad && f->o.json)
		print_for_programs(type, data);
	else if (!f->bad)
		print_for_people(f, type, data);
	json_decref(data);
	f->seen++;
	return !f->bad && fflush(stdout) == 0 && (f->count == 0 || f->seen < f->count);
}

static bool
on_bytes(void *sse, const char *bytes, size_t len)
{
	return qpa_sse_take(sse, bytes, len);
}

/* Once. A stream does not end by itself: when it did, and not on our wish, that is an error. */
static int
follow_once(struct follow *f, struct qpa_api *api, char after[QPA_SSE_ID_BYTES], struct qp_errmsg *msg)
{
	struct qpa_sse sse = {.event = on_event, .ctx = f};
	int err = qpa_api_stream(api, "/api/v1/events", after, on_bytes, &sse, msg);

	if (sse.id[0] != '\0')
		memcpy(after, sse.id, QPA_SSE_ID_BYTES);
	qpa_sse_free(&sse);
	if (err == QP_OK && f->bad)
		err = qp_fail(msg, QP_E_PROTO, "%s: an event that is no JSON object", f->o.api);
	else if (err == QP_OK && (f->count == 0 || f->seen < f->count) && ferror(stdout) == 0)
		err = qp_fail(msg, QP_E_CLOSED,
			"%s ended the stream: did the control plane end, or was this reader too slow?",
			f->o.api);
	return err;
}

/* What passes by itself: a control plane that is started again, or one that is busy. */
static bool
is_passing(int err)
{
	return err == QP_E_CLOSED || err == QP_E_TIMEOUT || err == QP_E_REFUSED;
}

static int
follow(const struct qpa_command *c, struct follow *f)
{
	char after[QPA_SSE_ID_BYTES] = "";
	struct qp_errmsg msg = {""};
	struct qpa_api *api;
	int err = qpa_api_open(&f->o, &api, &msg);

	if (err != QP_OK)
		return qpa_complain(c, err, &msg);
	while ((err = follow_once(f, api, after, &msg)) != QP_OK && f->reconnect && is_passing(err)) {
		fprintf(stderr, "quicport admin %s: %s; trying again\n", c->name, msg.text);
		(void)sleep(RETRY_S);
	}
	qpa_api_close(api);
	return err == QP_OK ? qpa_finish(c, QPA_EXIT_OK) : qpa_complain(c, err, &msg);
}

int
qpa_events_run(const struct qpa_command *c, int argc, char **argv)
{
	struct follow f = {0};
	const struct qp_opt opts[] = {
		QPA_OPTIONS_API(&f.o),
		QP_OPT_GROUP("What is shown:"),
		{.name = "type", .arg = "TYPE", .env = "", .repeat = true,
			.help = "events of this type alone: tunnel_opened, tunnel_closed, port_opened, "
				"port_closed, auth_failed, data_plane, config, policy, stats; else all "
				"but stats",
			.parse = qp_opt_strings, .value = &f.types},
		{.name = "count", .arg = "N", .env = "", .max = UINT32_MAX,
			.help = "end after so many", .parse = qp_opt_u32, .value = &f.count},
		{.name = "reconnect", .env = "",
			.help = "go on after a cut, with the events of meanwhile as far as the gateway "
				"keeps them",
			.parse = qp_opt_flag, .value = &f.reconnect},
		{.name = "json", .env = "", .help = "for programs: one JSON object a line",
			.parse = qp_opt_flag, .value = &f.o.json},
		QPA_OPTION_RAW(&f.o),
		{0},
	};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {.name = qpa_full_name(c, name), .opts = opts,
		.summary = "Shows what happens in the gateway, as it happens, until Ctrl-C."};

	qp_opt_parse_or_exit(&cmd, argc, argv);
	return follow(c, &f);
}
