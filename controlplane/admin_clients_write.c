/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of the private API: clients that are written and removed. What a field may
 * be is asked here, so that a mistake names its field; what clients together
 * may be is the policy's to say, which is made whole before anything changes.
 * Loop thread.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/admin_calls.h"
#include "controlplane/config.h"

#define MOST_BITS_PER_S 1000000000000ull

static bool
is_port_range(const char *text)
{
	struct qp_port_range *list = NULL;
	bool any = false;
	unsigned n = 0;
	int err = qp_port_ranges_parse(text, &any, &list, &n, NULL);

	free(list);
	return err == 0 && strchr(text, ',') == NULL;
}

static bool
is_local_rule(const char *text)
{
	struct qp_allow *a = calloc(1, sizeof(*a));
	bool good = a != NULL && (strcmp(text, "any") == 0 || strcmp(text, "none") == 0 ||
					 qp_allow_add(a, text, NULL) == 0);

	free(a);
	return good;
}

static bool
is_network(const char *text)
{
	struct qp_msg_network n;

	return qp_network_parse(text, &n, NULL) == 0;
}

static bool
is_key(const char *text)
{
	uint8_t key[QP_KEY_BYTES];

	return qp_key_parse(text, strlen(text), key) == 0;
}

/* A list of texts, each of which `good` takes; "any" and "none" stand alone. */
static void
take_list(struct qp_args *a, json_t *entry, const char *name, const char *key, size_t max,
	bool (*good)(const char *text), const char *expected)
{
	const json_t *list = qp_args_array(a, name, max);
	char field[64];
	const json_t *item;
	size_t i;

	if (list == NULL)
		return;
	json_array_foreach(list, i, item)
	{
		const char *text = json_string_value(item);

		snprintf(field, sizeof(field), "%s[%zu]", name, i);
		if (text == NULL || !good(text) ||
			(json_array_size(list) > 1 &&
				(strcmp(text, "any") == 0 || strcmp(text, "none") == 0))) {
			qp_args_fail_value(a, field, item, expected);
			return;
		}
	}
	json_object_set(entry, key, (json_t *)(uintptr_t)list);
}

static void
take_number(struct qp_args *a, json_t *entry, const char *name, const char *key, uint64_t max)
{
	uint64_t n = qp_args_number(a, name, 0, max, 0);

	if (qp_args_given(a, name))
		json_object_set_new(entry, key, json_integer((json_int_t)n));
}

static void
take_expiry(struct qp_args *a, json_t *entry)
{
	const char *text = qp_args_text(a, "expires", 1, 64), *end;
	struct tm tm = {0};

	if (text == NULL)
		return;
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (end == NULL || *end != '\0' || strlen(text) != 20)
		qp_args_fail(a, "expires", "a time in UTC, such as \"2027-01-01T00:00:00Z\"");
	else
		json_object_set_new(entry, "expires", json_string(text));
}

static void
take_grants(struct qp_args *a, json_t *entry)
{
	take_list(a, entry, "ports", "ports", 256, is_port_range,
		"\"9000-9099/tcp\", \"53/udp\", \"8080\"; or only \"any\" or \"none\"");
	take_list(a, entry, "local_forwards", "local-forwards", 256, is_local_rule,
		"NETWORK or NETWORK:PORTS, such as \"10.0.0.0/8:443\"; or only \"any\" or \"none\"");
	take_list(a, entry, "sources", "sources", QP_CLIENT_MAX_SOURCES, is_network,
		"an address, or a network such as \"198.51.100.0/24\"");
	take_number(a, entry, "tunnels", "tunnels", UINT32_MAX);
	take_number(a, entry, "forwards", "forwards", UINT32_MAX);
	take_number(a, entry, "connections", "connections", UINT32_MAX);
	take_number(a, entry, "connections_per_second", "connections-per-second", UINT32_MAX);
	take_number(a, entry, "bandwidth_in", "bandwidth-in", MOST_BITS_PER_S);
	take_number(a, entry, "bandwidth_out", "bandwidth-out", MOST_BITS_PER_S);
	take_expiry(a, entry);
}

/* One of three ways to know it; the PSK itself is not part of the entry. */
static const char *
take_credential(struct qp_args *a, json_t *entry)
{
	static const char one[] = "exactly one of public_key, public_keys and psk";
	const char *key = qp_args_text(a, "public_key", 1, 64);
	const char *psk = qp_args_text(a, "psk", 16, 1024);
	int given = qp_args_given(a, "public_key") + qp_args_given(a, "public_keys") +
		    qp_args_given(a, "psk");

	if (key != NULL && !is_key(key))
		qp_args_fail(a, "public_key", "32 bytes in Base64, as quicport pubkey prints them");
	else if (key != NULL)
		json_object_set_new(entry, "public-keys", json_pack("[s]", key));
	take_list(a, entry, "public_keys", "public-keys", 8, is_key,
		"32 bytes in Base64, as quicport pubkey prints them");
	if (json_is_array(json_object_get(a->object, "public_keys")) &&
		json_array_size(json_object_get(a->object, "public_keys")) == 0)
		qp_args_fail(a, "public_keys", "one key or more");
	if (given != 1)
		qp_args_fail(a, given == 0 ? "public_key" : "psk", one);
	if (psk != NULL &&
		(psk[strspn(psk, " \t\r\n\v\f")] == '\0' || strpbrk(psk, "\r\n") != NULL))
		qp_args_fail(a, "psk", "one line of 16 to 1024 bytes");
	return psk;
}

/* False: answered. A name of the operator's is not the API's to write. */
static bool
is_ours_to_write(struct qp_admin_call *c, const char *name, bool must_exist)
{
	const struct qp_policy_client *client = qp_policy_by_name(
		c->admin->policy(c->admin->ctx), name);
	const char *colon;
	char why[512];

	if (client == NULL) {
		/* Written before, and left out since: it may be written anew, and removed. */
		if (!must_exist || qp_api_clients_get(c->admin->clients, name) != NULL)
			return true;
		qp_problem(c->out, 404, "there is no client %s", name);
		return false;
	}
	if (qp_api_client_is(client))
		return true;
	snprintf(why, sizeof(why), "the client %s is written in %s", name,
		client->origin != NULL ? client->origin : "an option");
	colon = client->origin != NULL ? strrchr(client->origin, ':') : NULL;
	qp_problem_with(c->out, 409,
		colon != NULL && atoi(colon + 1) > 0
			? json_pack("{s:s%, s:i}", "file", client->origin,
				  (size_t)(colon - client->origin), "line", atoi(colon + 1))
			: NULL,
		why);
	return false;
}

/* What is wrong with all clients together: a group that is not there, a key that another has. */
static void
refuse(struct qp_admin_call *c, const char *why)
{
	static const char place[] = QP_CONFIG_API_PATH ":";
	const char *text = why;

	if (strncmp(why, place, sizeof(place) - 1) == 0) {
		text = why + sizeof(place) - 1;
		text += strspn(text, "0123456789");
		text += strspn(text, ": ");
	}
	if (strncmp(text, "group:", 6) == 0)
		qp_problem_field(c->out, "group", "a group of the configuration", "%s", text);
	else
		qp_problem(c->out, 409, "%s", text);
}

/*
 * A client that is being written, or removed. Owner: the loop thread. Life: from
 * the request to its answer. Its call is a copy that outlives the request.
 */
struct writing {
	struct qp_admin_call call; /* without `req` and `args` */
	struct qp_http_response out;
	struct qp_http_later *later;
	char *actor, *name;
	json_t *entry; /* NULL: removed */
	bool there;    /* before */
	json_t *row;   /* as it is in force; NULL: removed, or not in force yet */
};

static void
free_writing(struct writing *w)
{
	free(w->actor);
	free(w->name);
	json_decref(w->entry);
	json_decref(w->row);
	free(w);
}

static void
on_in_force(void *ctx, bool was_there)
{
	struct writing *w = ctx;
	const struct qp_admin *a = w->call.admin;
	const bool put = w->entry != NULL;

	w->there = was_there;
	if (!put && !was_there)
		return;
	if (put)
		w->row = qp_admin_client_row(a, qp_policy_by_name(a->policy(a->ctx), w->name));
	qp_admin_audit(&w->call, put ? "PutClient" : "DeleteClient",
		put ? json_incref(w->entry) : json_pack("{s:s}", "name", w->name));
	qp_events_emit(a->events, QP_EVENT_POLICY,
		json_pack("{s:s, s:s}", "action", put ? "put_client" : "delete_client", "client",
			w->name));
}

static void
answer_done(struct writing *w)
{
	if (w->entry != NULL)
		qp_admin_reply(&w->out, json_pack("{s:s, s:O}", "status",
						w->there ? "replaced" : "created", "client", w->row));
	else if (w->there)
		qp_admin_reply(&w->out, json_pack("{s:s}", "status", "deleted"));
	else /* another call has done it meanwhile */
		qp_problem(&w->out, 404, "there is no client %s", w->name);
}

static void
on_done(void *ctx, enum qp_write_end end, const char *why)
{
	struct writing *w = ctx;

	if (end == QP_WRITE_DONE)
		answer_done(w);
	else if (end == QP_WRITE_NOT_NOW)
		qp_problem(&w->out, 503, "%s", why);
	/* All was read again: the name may be the operator's now. */
	else if (is_ours_to_write(&w->call, w->name, w->entry == NULL))
		refuse(&w->call, why);
	qp_http_finish(w->later, &w->out);
	free_writing(w);
}

/* NULL: out of memory. */
static struct writing *
begin(const struct qp_admin_call *c, const char *name, json_t *entry)
{
	struct writing *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->actor = strdup(c->actor);
	w->name = strdup(name);
	w->entry = json_incref(entry);
	if (w->actor == NULL || w->name == NULL) {
		free_writing(w);
		return NULL;
	}
	w->call = (struct qp_admin_call) {.admin = c->admin, .out = &w->out, .actor = w->actor};
	return w;
}

/* `entry` NULL: the client is removed. */
static void
write_client(struct qp_admin_call *c, const char *name, json_t *entry, const char *psk)
{
	struct qp_client_write write = {.actor = c->actor, .name = name, .entry = entry,
		.in_force = on_in_force, .done = on_done};
	struct qp_secret *secret = psk != NULL ? qp_secret_new(psk, strlen(psk)) : NULL;
	struct writing *w = begin(c, name, entry);
	struct qp_errmsg msg;

	if (w == NULL || (psk != NULL && secret == NULL) || c->req->later == NULL) {
		qp_problem(c->out, 503, "the gateway is out of memory");
		if (w != NULL)
			free_writing(w);
	} else {
		w->later = qp_http_defer(c->req);
		write.psk = secret;
		write.ctx = w;
		if (c->admin->write_client(c->admin->ctx, &write, &msg) != 0)
			on_done(w, QP_WRITE_NOT_NOW, msg.text);
	}
	qp_secret_free(secret);
}

void
qp_admin_put_client(struct qp_admin_call *c)
{
	json_t *entry = json_object();
	const char *name = qp_args_client_name(c->args, "name", true);
	const char *group = qp_args_client_name(c->args, "group", false);
	const char *psk = take_credential(c->args, entry);

	if (name != NULL)
		json_object_set_new(entry, "name", json_string(name));
	if (group != NULL)
		json_object_set_new(entry, "group", json_string(group));
	take_grants(c->args, entry);
	if (qp_args_ok(c->args) && is_ours_to_write(c, name, false))
		write_client(c, name, entry, psk);
	json_decref(entry);
}

void
qp_admin_delete_client(struct qp_admin_call *c)
{
	const char *name = qp_args_client_name(c->args, "name", true);

	if (qp_args_ok(c->args) && is_ours_to_write(c, name, true))
		write_client(c, name, NULL, NULL);
}
