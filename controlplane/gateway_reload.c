/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration that takes another's place while the gateway runs: made whole
 * beside the old one first, so that a mistake changes nothing. Loop thread, but
 * for qp_reload_build; blocks on files.
 */
#define QP_LOG_MODULE QP_LOG_M_config
#include <stdlib.h>
#include <string.h>

#include "common/heap.h"
#include "common/text.h"
#include "controlplane/gateway_internal.h"
#include "controlplane/reload.h"

/* What counts at once. Others wait for the next data plane or for a restart. */
static const char *const live_options[] = {"accept-ra", "allow-local-forward",
	"allow-local-forward-any", "audit-log", "client-pubkeys", "client-pubkeys-file", "control-plane-heap",
	"data-plane-heap", "drain-grace", "drain-timeout", "gateway", "ip", "log-level", "mtu",
	"port-range", "port-takeover", "psk", "reserved-ports", "route", "vlan", "watch-config"};
/* … unless the ports that they are of have changed, which waits for a restart. */
static const char *const port_options[] = {"accept-ra", "gateway", "ip", "mtu", "route", "vlan"};

/* A reload under way: what takes the old one's place once all of it is there. */
struct qp_reloading {
	struct qp_gateway *g;
	const char *actor;
	uint64_t began_ns;
	bool for_next; /* a data plane is started with it */
	struct qp_options options;
	bool psk_changes;
	struct qp_secret *psk; /* NULL: there is none any more */
	struct qp_credentials with; /* what the policy is built of; all borrowed */
	bool may_leave_out; /* the API's clients, see build_policy */
	struct qp_policy *policy;
	bool api_clients_out;
	bool audit_changes;
	struct qp_audit *audit;
	int err; /* why it comes to nothing */
	struct qp_errmsg msg;
	struct qp_reload_result *result, own;
};

static bool
is_among(const char *option, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(option, names[i]) == 0)
			return true;
	}
	return false;
}

#define IS_AMONG(option, names) is_among(option, names, sizeof(names) / sizeof(names[0]))

/* They are those that the gateway has: what is said of them can count. */
static bool
same_ports(const struct qp_reloading *r)
{
	const struct qp_opt_strings *was = &r->g->o->nic.ports, *is = &r->options.nic.ports;

	if (was->n != is->n)
		return false;
	for (unsigned i = 0; i < was->n; i++) {
		if (strcmp(was->v[i], is->v[i]) != 0)
			return false;
	}
	return true;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/*
 * Clients that the API has written, and that the start had to leave out, hold up
 * no change of the file; they are back with the one that makes up for them.
 */
static int
build_policy(struct qp_reloading *r, struct qp_errmsg *msg)
{
	int err = qp_credentials_policy(&r->with, &r->options, &r->policy, msg);
	struct qp_errmsg why;

	if (err == 0 || !r->may_leave_out)
		return err;
	why = *msg;
	r->with.api_clients = NULL;
	err = qp_credentials_policy(&r->with, &r->options, &r->policy, msg);
	if (err != 0)
		return err;
	r->api_clients_out = true;
	qp_log(QP_LOG_ERROR, "clients that the API has written are not in force",
		QP_LOG_STR("reason", why.text));
	return 0;
}

/* That of the command line, or the one that was made, stays. */
static int
take_psk(struct qp_reloading *r, struct qp_errmsg *msg)
{
	struct qp_credentials *with = &r->with;
	int err = 0;

	*with = *r->g->cred;
	if (r->options.psk != NULL)
		err = qp_psk_from_text(
			(const char *)r->options.psk->bytes, "--psk", &r->psk, msg);
	if (err != 0) {
		qp_options_locate(&r->options, msg);
		return err;
	}
	r->psk_changes = r->psk != NULL || (with->psk != NULL && with->psk_path[0] == '\0' &&
						 !r->options.psk_in_words);
	if (r->psk_changes) {
		with->psk = r->psk;
		with->psk_path[0] = '\0';
	}
	return 0;
}

static int
open_audit(struct qp_reloading *r, struct qp_errmsg *msg)
{
	const char *path = r->options.audit_log;
	int err = 0;

	r->audit_changes = !same_text(path, r->g->o->audit_log);
	if (r->audit_changes && path != NULL)
		err = qp_audit_open(path, &r->audit, msg);
	return err;
}

/* An editor that writes a file in place empties it first: that is no wish to end every tunnel. */
static int
refuse_emptied(const struct qp_reloading *r, struct qp_errmsg *msg)
{
	const struct qp_config *was = r->g->o->file, *is = r->options.file;

	if (was == NULL || is == NULL || qp_config_is_empty(was) || !qp_config_is_empty(is))
		return 0;
	return qp_fail(msg, QP_E_INVAL,
		"%s is empty now: write it under another name and rename it; to take back all "
		"that it said, leave an empty list in it, such as `clients: []`",
		qp_config_file(is, 0));
}

static int
prepare(struct qp_reloading *r, struct qp_errmsg *msg)
{
	const struct qp_options *before = r->g->o;
	const struct qp_options_how how = {.before = before};
	int err = qp_options_read(&r->options, before->argc, before->argv, &how, msg);

	if (err == 0)
		err = refuse_emptied(r, msg);
	if (err == 0 && r->g->nicnet != NULL && same_ports(r)) {
		err = qp_nicnet_may_change(r->g->nicnet, &r->options.nic, msg);
		if (err != 0)
			qp_options_locate(&r->options, msg);
	}
	return err != 0 ? err : take_psk(r, msg);
}

void
qp_reload_free(struct qp_reloading *r)
{
	if (r == NULL)
		return;
	qp_options_free(&r->options);
	qp_secret_free(r->psk);
	qp_policy_free(r->policy);
	qp_audit_close(r->audit);
	free(r);
}

static enum qp_reload_when
when_it_counts(const struct qp_reloading *r, const char *option)
{
	if (IS_AMONG(option, port_options) && !same_ports(r))
		return QP_RELOAD_RESTART;
	if (IS_AMONG(option, live_options))
		return QP_RELOAD_NOW;
	if (!qp_options_of_generation(option))
		return QP_RELOAD_RESTART;
	return r->for_next ? QP_RELOAD_NOW : QP_RELOAD_NEXT_DATA_PLANE;
}

static void
take_change(void *ctx, const char *option, const char *was, const char *is)
{
	static const char *const told[] = {"an option has changed",
		"an option stays as it was until data planes change (SIGHUP)",
		"an option stays as it was until the gateway is restarted"};
	struct qp_reloading *r = ctx;
	struct qp_reload_result *out = r->result;
	enum qp_reload_when when = when_it_counts(r, option);

	if (out->n < sizeof(out->change) / sizeof(out->change[0])) {
		struct qp_reload_change *c = &out->change[out->n++];

		c->option = option;
		c->when = when;
		memcpy(c->was, was, sizeof(c->was));
		memcpy(c->is, is, sizeof(c->is));
	}
	qp_log(when == QP_RELOAD_NOW ? QP_LOG_INFO : QP_LOG_WARN, told[when],
		QP_LOG_STR("option", option), QP_LOG_STR("old", was), QP_LOG_STR("new", is));
}

static void
apply_log_levels(struct qp_reloading *r)
{
	struct qp_log_config *is = &r->options.log, *was = &r->g->o->log;

	/* What the API has set meanwhile stays, unless the configuration says otherwise now. */
	if (is->level == was->level && memcmp(is->module, was->module, sizeof(is->module)) == 0)
		return;
	was->level = is->level;
	memcpy(was->module, is->module, sizeof(was->module));
	qp_log_apply_levels(was);
	qp_supervisor_tell_log_levels(r->g->supervisor);
}

static void
apply_ports(struct qp_reloading *r)
{
	struct qp_options *o = r->g->o, *fresh = &r->options;
	struct qp_options_ports old = o->reserved_ports;

	o->any_port = fresh->any_port;
	o->reserved_ports = fresh->reserved_ports;
	o->port_takeover = fresh->port_takeover;
	fresh->reserved_ports = old; /* freed with the rest, once nobody borrows it */
	qp_ports_set_ranges(r->g->ports, &o->any_port, o->reserved_ports.range,
		o->reserved_ports.n);
}

static void
apply_budgets(struct qp_reloading *r)
{
	struct qp_options *o = r->g->o;

	o->data_plane_heap_mib = r->options.data_plane_heap_mib;
	o->control_plane_heap_mib = r->options.control_plane_heap_mib;
	qp_heap_set_budget((uint64_t)o->control_plane_heap_mib << 20);
	qp_supervisor_set_budget(r->g->supervisor, (uint64_t)o->data_plane_heap_mib << 20);
}

/* The workers' CPUs are the next data plane's. */
static void
apply_addresses(struct qp_reloading *r)
{
	struct qp_nic_options *o = &r->g->o->nic, fresh = r->options.nic;

	if (r->g->nicnet == NULL || !same_ports(r))
		return;
	qp_nic_options_take_lcores(&fresh, o);
	*o = fresh;
	qp_nicnet_change(r->g->nicnet, o);
}

static void
apply_audit(struct qp_reloading *r)
{
	struct qp_audit *old = r->g->audit;

	if (!r->audit_changes)
		return;
	r->g->audit = r->audit;
	r->g->records.audit = r->audit;
	r->g->o->audit_log = r->options.audit_log;
	r->audit = old; /* closed with the rest */
}

/* Options that wait for a data plane or a restart keep the value that is in force. */
static void
apply_settings(struct qp_reloading *r)
{
	struct qp_options *o = r->g->o, *fresh = &r->options;
	struct qp_settings old = o->settings;
	struct qp_config *file = o->file;

	for (unsigned i = 0; i < r->result->n; i++) {
		const struct qp_reload_change *c = &r->result->change[i];

		if (c->when != QP_RELOAD_NOW)
			qp_settings_put_back(&fresh->settings, &old, c->option);
	}
	o->settings = fresh->settings;
	fresh->settings = old;
	o->file = fresh->file;
	fresh->file = file;
	o->allow = fresh->allow;
	o->client_pubkeys = fresh->client_pubkeys;
	o->client_pubkeys_file = fresh->client_pubkeys_file;
	o->watch_config = fresh->watch_config;
	o->drain_timeout_s = fresh->drain_timeout_s;
	o->drain_grace_s = fresh->drain_grace_s;
	qp_supervisor_set_drain_timeout(
		r->g->supervisor, o->drain_timeout_s, o->drain_grace_s);
}

static void
apply(struct qp_reloading *r)
{
	struct qp_gateway *g = r->g;
	struct qp_enforce_result enforced;
	struct qp_secret *old = g->cred->psk;

	qp_settings_compare(&g->o->settings, &r->options.settings, take_change, r);
	apply_log_levels(r);
	apply_ports(r);
	apply_budgets(r);
	apply_addresses(r);
	apply_audit(r);
	if (r->for_next)
		qp_options_take_generation(g->o, &r->options);
	apply_settings(r);
	qp_config_forget(g->o->file);
	if (r->psk_changes) {
		g->cred->psk = r->psk;
		g->cred->psk_path[0] = '\0';
		r->psk = old; /* freed with the rest */
	}
	qp_enforce_replace(g->enforce, r->policy, &enforced);
	r->policy = NULL;
	g->api_clients_out = r->api_clients_out;
	r->result->clients = enforced.clients;
	r->result->ended = enforced.ended;
	qp_gateway_watch_files(g);
}

static void
record(struct qp_gateway *g, const char *actor, const struct qp_reload_result *out,
	const struct qp_errmsg *msg)
{
	json_t *details = json_object();
	const char *why = msg != NULL ? msg->text : NULL;
	char printable[2 * sizeof(msg->text)];

	/* It quotes files, and may end in the middle of a character: JSON takes UTF-8 only. */
	if (why != NULL && !qp_utf8_valid(why, strlen(why))) {
		qp_slice_printable(qp_slice_of(why), printable, sizeof(printable));
		why = printable;
	}
	if (why != NULL) {
		json_object_set_new(details, "error", json_string(why));
	} else {
		json_object_set_new(details, "clients", json_integer(out->clients));
		json_object_set_new(details, "tunnels_ended", json_integer(out->ended));
	}
	qp_record_admin(&g->records, actor, "reload", details);
	qp_events_emit(g->events, QP_EVENT_CONFIG,
		json_pack("{s:s, s:s*}", "status", why != NULL ? "failed" : "reloaded", "detail", why));
}

struct qp_reloading *
qp_reload_begin(struct qp_gateway *g, const char *actor, const struct qp_reload_how *how)
{
	struct qp_reloading *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->g = g;
	r->actor = actor;
	r->began_ns = qp_now_ns();
	r->for_next = how->for_next;
	r->may_leave_out = g->api_clients_out && !how->api_clients_needed;
	r->result = how->result != NULL ? how->result : &r->own;
	*r->result = (struct qp_reload_result) {0};
	r->err = prepare(r, &r->msg);
	return r;
}

void
qp_reload_build(struct qp_reloading *r, char *api_clients)
{
	if (api_clients != NULL)
		r->with.api_clients = api_clients;
	if (r->err == 0)
		r->err = build_policy(r, &r->msg);
}

void
qp_reload_fail(struct qp_reloading *r, int err, const struct qp_errmsg *msg)
{
	r->err = err;
	r->msg = *msg;
}

int
qp_reload_finish(struct qp_reloading *r, struct qp_errmsg *msg)
{
	if (r->err == 0)
		r->err = open_audit(r, &r->msg);
	/* Last: what it reads counts at once. */
	if (r->err == 0)
		r->err = qp_gateway_api_reload(r->g, &r->msg);
	if (r->err != 0) {
		*msg = r->msg;
		qp_log(QP_LOG_ERROR, "nothing was reloaded", QP_LOG_STR("reason", msg->text),
			QP_LOG_STR("by", r->actor));
		record(r->g, r->actor, NULL, msg);
		return r->err;
	}
	apply(r);
	qp_log(QP_LOG_INFO, "configuration reloaded", QP_LOG_STR("by", r->actor),
		QP_LOG_U64("clients", r->result->clients),
		QP_LOG_U64("tunnels_ended", r->result->ended),
		QP_LOG_U64("took_ms", (qp_now_ns() - r->began_ns) / 1000000));
	record(r->g, r->actor, r->result, NULL);
	return 0;
}

static int
reload(struct qp_gateway *g, const char *actor, const struct qp_reload_how *how,
	struct qp_errmsg *msg)
{
	struct qp_reloading *r;
	int err;

	/* A policy that is being built borrows what is replaced now. */
	qp_gateway_settle_writes(g);
	r = qp_reload_begin(g, actor, how);
	if (r == NULL) {
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	} else {
		qp_reload_build(r, NULL);
		err = qp_reload_finish(r, msg);
	}
	qp_reload_free(r);
	qp_gateway_go_on_with_writes(g);
	return err;
}

int
qp_gateway_reload(struct qp_gateway *g, const char *actor, struct qp_reload_result *out,
	struct qp_errmsg *msg)
{
	return reload(g, actor, &(struct qp_reload_how) {.result = out}, msg);
}

int
qp_gateway_reload_for_next(struct qp_gateway *g, const char *actor, struct qp_errmsg *msg)
{
	return reload(g, actor, &(struct qp_reload_how) {.for_next = true}, msg);
}

static void
on_files_changed(void *ctx)
{
	struct qp_gateway *g = ctx;
	struct qp_errmsg msg;

	if (!g->stopping)
		(void)qp_gateway_reload(g, "file changed", NULL, &msg);
}

void
qp_gateway_watch_files(struct qp_gateway *g)
{
	const struct qp_config *file = g->o->watch_config ? g->o->file : NULL;
	const char *paths[QP_FILE_WATCH_PATHS] = {NULL};
	unsigned n = 0;
	const char *path;

	if (g->o->client_pubkeys_file != NULL)
		paths[n++] = g->o->client_pubkeys_file;
	for (unsigned i = 0; file != NULL && (path = qp_config_file(file, i)) != NULL; i++)
		paths[n++] = path;
	for (unsigned i = 0; file != NULL && (path = qp_config_folder(file, i)) != NULL; i++)
		paths[n++] = path[0] != '\0' ? path : "./";
	if (g->file_watch == NULL && n > 0)
		g->file_watch = qp_file_watch_new(g->loop, on_files_changed, g);
	if (g->file_watch == NULL ? n > 0 : qp_file_watch_set(g->file_watch, paths, n) != 0)
		qp_log(QP_LOG_WARN, "files are not watched: after a change, send SIGHUP");
}
