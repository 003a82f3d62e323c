/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration in force, and its being read again. Loop thread. */
#include <stdio.h>
#include <string.h>

#include "controlplane/admin_calls.h"
#include "controlplane/options.h"

#define SECRET "***"

static json_t *
value_of(const struct qp_setting *s)
{
	return json_string(s->text != NULL ? s->text : SECRET);
}

/* Values of a repeated option follow each other. */
static json_t *
setting_row(const struct qp_settings *s, unsigned *i)
{
	const struct qp_setting *first = &s->v[*i];
	json_t *value = value_of(first), *row;

	if (*i + 1 < s->n && strcmp(s->v[*i + 1].name, first->name) == 0) {
		value = json_pack("[o]", value);
		while (*i + 1 < s->n && strcmp(s->v[*i + 1].name, first->name) == 0)
			json_array_append_new(value, value_of(&s->v[++*i]));
	}
	row = json_pack("{s:s, s:o, s:s}", "name", first->name, "value", value, "source",
		qp_opt_origin_name(first->origin));
	if (row != NULL && first->place[0] != '\0')
		json_object_set_new(row, "place", json_string(first->place));
	return row;
}

void
qp_admin_get_config(struct qp_admin_call *c)
{
	const struct qp_options *o = c->admin->options;
	json_t *settings = json_array(), *files = json_array();
	const char *path;

	for (unsigned i = 0; o != NULL && i < o->settings.n; i++)
		json_array_append_new(settings, setting_row(&o->settings, &i));
	for (unsigned i = 0; o != NULL && o->file != NULL &&
			     (path = qp_config_file(o->file, i)) != NULL; i++)
		json_array_append_new(files, json_string(path));
	if (qp_args_ok(c->args)) {
		qp_admin_reply(c->out, json_pack("{s:o, s:o}", "settings", settings, "files", files));
		return;
	}
	json_decref(settings);
	json_decref(files);
}

/* What waits for a hand-over or a restart, in words. */
static json_t *
waiting(const struct qp_reload_result *r)
{
	char text[1024] = "";
	size_t used = 0;

	for (unsigned i = 0; i < r->n && used < sizeof(text); i++) {
		const struct qp_reload_change *ch = &r->change[i];

		if (ch->when != QP_RELOAD_NOW)
			used += (size_t)snprintf(text + used, sizeof(text) - used,
				"%s%s stays at %.96s until %s, not %.96s", used > 0 ? "; " : "",
				ch->option, ch->was, ch->when == QP_RELOAD_RESTART
					? "a restart" : "data planes change (SIGHUP)", ch->is);
	}
	return used > 0 ? json_string(text) : NULL;
}

/* "FILE:LINE: …" with its file and line as members, for programs. */
void
qp_admin_refuse_config(struct qp_http_response *out, const char *why)
{
	const char *colon = strstr(why, ": ");
	size_t len = colon != NULL ? (size_t)(colon - why) : 0;
	unsigned line = 0, unit = 1;

	while (len > 0 && why[len - 1] >= '0' && why[len - 1] <= '9' && unit < 1000000000) {
		line += (unsigned)(why[--len] - '0') * unit;
		unit *= 10;
	}
	if (line > 0 && len > 1 && why[len - 1] == ':')
		qp_problem_with(out, 400, json_pack("{s:s%, s:i}", "file", why, len - 1, "line",
						  (int)line), why);
	else
		qp_problem_with(out, 400, NULL, why);
}

void
qp_admin_reload_config(struct qp_admin_call *c)
{
	struct qp_reload_result result;
	struct qp_errmsg msg;

	if (!qp_args_ok(c->args))
		return;
	if (c->admin->reload == NULL)
		qp_problem(c->out, 400, "there is no configuration to read");
	else if (c->admin->reload(c->admin->ctx, c->actor, &result, &msg) != 0)
		qp_admin_refuse_config(c->out, msg.text);
	else
		qp_admin_reply(c->out, json_pack("{s:s, s:o*}", "status", "reloaded", "detail",
					       waiting(&result)));
}
