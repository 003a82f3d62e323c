/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's configuration file, by libcyaml: what there may be is the
 * schema below; what must go together is judged after it. Main thread.
 */
#include "client/config.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/config_place.h"
#include "common/addr.h"
#include "common/opt.h"

#define FORWARDS "forwards"

struct file_peer {
	char *server, *psk, *privkey, *privkey_file, *server_pubkey, *server_pubkey_file;
};

struct file_forward {
	struct file_peer peer;
	char *name;
	char *remote_source, *local_destination, *local_source, *remote_destination;
};

/* As the file says it; NULL: not there. */
struct file {
	struct file_peer peer;
	char *insecure, *reconnect; /* libcyaml takes any word for true */
	uint32_t *reconnect_max_attempts, *reconnect_delay;
	uint32_t *keep_alive, *idle_timeout, *udp_idle_timeout, *memory_budget;
	struct file_forward *forwards;
	unsigned forwards_count;
};

#define OPTIONAL_TEXT(key, type, member)                                                           \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 1,     \
		CYAML_UNLIMITED)
#define OPTIONAL_UINT(key, member)                                                                 \
	CYAML_FIELD_UINT_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file, member)
#define PEER_FIELDS(type)                                                                          \
	OPTIONAL_TEXT("server", type, peer.server), OPTIONAL_TEXT("psk", type, peer.psk),          \
		OPTIONAL_TEXT("privkey", type, peer.privkey),                                      \
		OPTIONAL_TEXT("privkey-file", type, peer.privkey_file),                            \
		OPTIONAL_TEXT("server-pubkey", type, peer.server_pubkey),                          \
		OPTIONAL_TEXT("server-pubkey-file", type, peer.server_pubkey_file)

static const cyaml_schema_field_t forward_fields[] = {
	PEER_FIELDS(struct file_forward),
	OPTIONAL_TEXT("name", struct file_forward, name),
	OPTIONAL_TEXT("remote-source", struct file_forward, remote_source),
	OPTIONAL_TEXT("local-destination", struct file_forward, local_destination),
	OPTIONAL_TEXT("local-source", struct file_forward, local_source),
	OPTIONAL_TEXT("remote-destination", struct file_forward, remote_destination),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t forward_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_forward, forward_fields),
};

static const cyaml_schema_field_t file_fields[] = {
	PEER_FIELDS(struct file),
	OPTIONAL_TEXT("insecure", struct file, insecure),
	OPTIONAL_TEXT("reconnect", struct file, reconnect),
	OPTIONAL_UINT("reconnect-max-attempts", reconnect_max_attempts),
	OPTIONAL_UINT("reconnect-delay", reconnect_delay),
	OPTIONAL_UINT("quic-keep-alive", keep_alive),
	OPTIONAL_UINT("quic-idle-timeout", idle_timeout),
	OPTIONAL_UINT("udp-idle-timeout", udp_idle_timeout),
	OPTIONAL_UINT("memory-budget", memory_budget),
	CYAML_FIELD_SEQUENCE(FORWARDS, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file, forwards,
		&forward_schema, 0, QPC_MAX_FORWARDS),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t file_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct file, file_fields),
};

/* libcyaml tells a mistake in several lines, the place last: one line is made of them. */
struct complaint {
	char what[200];
	char where[80]; /* "in mapping field 'reconnect-delay'" */
	unsigned line;
};

/* "  in mapping field 'x' (line: 3, column: 18)": the first of these is the innermost. */
static void
take_place(struct complaint *c, const char *text)
{
	const char *at = strstr(text, " (line: ");
	size_t len;

	if (c->where[0] != '\0')
		return;
	text += strspn(text, " ");
	len = (size_t)(at - text);
	snprintf(c->where, sizeof(c->where), "%.*s", (int)len, text);
	c->line = (unsigned)strtoul(at + strlen(" (line: "), NULL, 10);
}

/* A key that it does not know, and what is no YAML, libcyaml places where it was before that. */
static void
correct_place(const char *path, struct complaint *c)
{
	static const char unexpected[] = "Unexpected key: ";

	if (strncmp(c->what, unexpected, sizeof(unexpected) - 1) == 0)
		c->line = qpc_place_of_any(path, c->what + sizeof(unexpected) - 1, c->line);
	else if (strncmp(c->what, "libyaml: ", 9) == 0)
		c->line = qpc_place_of_end(path);
}

static void
listen_to_cyaml(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	struct complaint *c = ctx;
	char line[256], *at;

	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	at = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
	if (strstr(at, " (line: ") != NULL)
		take_place(c, at);
	else if (c->what[0] == '\0')
		snprintf(c->what, sizeof(c->what), "%.199s", at);
}

static int
read_file(const char *path, struct file **out, struct qp_errmsg *msg)
{
	struct complaint c = {"", "", 0};
	const cyaml_config_t config = {
		.log_fn = listen_to_cyaml,
		.log_ctx = &c,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_DEFAULT,
	};
	cyaml_err_t err;

	if (access(path, R_OK) != 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot read %s: %s", path,
			strerror(errno));
	err = cyaml_load_file(path, &config, &file_schema, (cyaml_data_t **)out, NULL);
	if (err == CYAML_OK && *out != NULL)
		return QP_OK;
	if (err == CYAML_OK)
		return qp_fail(msg, QP_E_INVAL, "%s is empty: it needs at least `forwards`", path);
	correct_place(path, &c);
	return qp_fail(msg, QP_E_INVAL, "%s:%u: %s%s%s", path, c.line,
		c.what[0] != '\0' ? c.what : cyaml_strerror(err), c.where[0] != '\0' ? ", " : "", c.where);
}

static struct qpc_peer
peer_of(const struct file_peer *p)
{
	return (struct qpc_peer) {.server = p->server, .psk = p->psk, .privkey = p->privkey,
		.privkey_file = p->privkey_file, .server_pubkey = p->server_pubkey,
		.server_pubkey_file = p->server_pubkey_file};
}

/* Yes or no, as options take it. */
static int
merge_flag(const char *path, const char *key, const char *text, bool given, bool *value,
	struct qp_errmsg *msg)
{
	const struct qp_opt opt = {.value = value};
	struct qp_errmsg form = {""};

	if (text == NULL || given || qp_opt_flag(&opt, text, &form) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL, "%s:%u: %s: '%s' is not %s", path,
		qpc_place_of_key(path, key), key, text, form.text);
}

static int
merge_number(const char *path, const char *key, const uint32_t *number, bool given, uint32_t min,
	uint32_t max, uint32_t *value, struct qp_errmsg *msg)
{
	if (number == NULL || given)
		return QP_OK;
	if (*number < min || *number > max)
		return qp_fail(msg, QP_E_INVAL, "%s:%u: %s: %u is not from %u to %u", path,
			qpc_place_of_key(path, key), key, *number, min, max);
	*value = *number;
	return QP_OK;
}

/* What the file says, as far as the options do not. */
static int
merge_settings(const struct qpc_options *o, const struct file *f, struct qpc_settings *set,
	struct qp_errmsg *msg)
{
	const struct qpc_given *g = &o->given;
	const char *path = o->config;
	int err;

	*set = o->set;
	err = merge_flag(path, "insecure", f->insecure, g->insecure, &set->insecure, msg);
	if (err == QP_OK)
		err = merge_flag(path, "reconnect", f->reconnect, g->reconnect, &set->reconnect, msg);
	if (err == QP_OK)
		err = merge_number(path, "reconnect-max-attempts", f->reconnect_max_attempts,
			g->reconnect_max_attempts, 0, UINT32_MAX, &set->reconnect_max_attempts, msg);
	if (err == QP_OK)
		err = merge_number(path, "reconnect-delay", f->reconnect_delay, g->reconnect_delay, 1,
			60, &set->reconnect_delay_s, msg);
	if (err == QP_OK)
		err = merge_number(path, "quic-keep-alive", f->keep_alive, g->keep_alive, 0, 3600,
			&set->keep_alive_s, msg);
	if (err == QP_OK)
		err = merge_number(path, "quic-idle-timeout", f->idle_timeout, g->idle_timeout, 1,
			86400, &set->idle_timeout_s, msg);
	if (err == QP_OK)
		err = merge_number(path, "udp-idle-timeout", f->udp_idle_timeout, g->udp_idle_timeout,
			0, 86400, &set->udp_idle_timeout_s, msg);
	if (err == QP_OK)
		err = merge_number(path, "memory-budget", f->memory_budget, g->memory_budget, 0,
			1048576, &set->memory_budget_mib, msg);
	return err;
}

static int
check_side(const char *path, unsigned n, const char *key, const char *text, unsigned flags,
	struct qp_errmsg *msg)
{
	struct qp_target t;

	if (qp_target_parse(text, flags, &t, NULL) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL,
		"%s:%u: %s: '%s' is not %s, with /tcp or /udp at its end if you like, the port from %u "
		"to 65535", path, qpc_place_in_list(path, FORWARDS, n - 1, key), key, text,
		(flags & QP_ADDR_HOST) ? "[ADDR:]PORT" : "PORT", (flags & QP_ADDR_PORT_0) ? 0 : 1);
}

/* Forward number `n`, from 1. */
static int
make_spec(const char *path, unsigned n, const struct file_forward *f, struct qpc_spec *s,
	struct qp_errmsg *msg)
{
	bool remote = f->remote_source != NULL || f->local_destination != NULL;
	bool local = f->local_source != NULL || f->remote_destination != NULL;
	int err;

	if (remote == local || (remote && (f->remote_source == NULL || f->local_destination == NULL)) ||
		(local && (f->local_source == NULL || f->remote_destination == NULL)))
		return qp_fail(msg, QP_E_INVAL,
			"%s:%u: a forward needs either remote-source and local-destination, or local-source "
			"and remote-destination", path, qpc_place_in_list(path, FORWARDS, n - 1, NULL));
	*s = (struct qpc_spec) {.name = f->name, .peer = peer_of(&f->peer)};
	if (remote) {
		s->kind = QP_FORWARD_REMOTE;
		s->remote = f->remote_source;
		s->local = f->local_destination;
		err = check_side(path, n, "remote-source", s->remote, QP_ADDR_PROTO | QP_ADDR_PORT_0, msg);
		return err != QP_OK ? err : check_side(path, n, "local-destination", s->local,
						    QP_ADDR_HOST | QP_ADDR_PROTO, msg);
	}
	s->kind = QP_FORWARD_LOCAL;
	s->local = f->local_source;
	s->remote = f->remote_destination;
	err = check_side(path, n, "local-source", s->local, QP_ADDR_HOST | QP_ADDR_PROTO | QP_ADDR_PORT_0,
		msg);
	return err != QP_OK ? err : check_side(path, n, "remote-destination", s->remote,
					    QP_ADDR_HOST | QP_ADDR_PROTO, msg);
}

/* The file's server and identity, each as a whole, unless an option says them. */
static struct qpc_peer
merge_peer(const struct qpc_options *o, const struct file *f)
{
	struct qpc_peer p = o->peer, of_file = peer_of(&f->peer);

	qpc_peer_inherit(&p, &of_file);
	return p;
}

static int
take_forwards(const struct qpc_options *o, const struct file *f, struct qpc_config *out,
	struct qp_errmsg *msg)
{
	struct qpc_peer common = merge_peer(o, f);
	int err = QP_OK;

	out->specs = o->specs;
	if (out->specs.n + f->forwards_count > QPC_MAX_FORWARDS)
		return qp_fail(msg, QP_E_FULL, "%s: more than %u forwards", o->config, QPC_MAX_FORWARDS);
	for (unsigned i = 0; err == QP_OK && i < f->forwards_count; i++)
		err = make_spec(o->config, i + 1, &f->forwards[i], &out->specs.v[out->specs.n++], msg);
	if (err == QP_OK && out->specs.n == 0)
		err = qp_fail(msg, QP_E_INVAL, "%s has no forward: add one under `forwards`", o->config);
	for (size_t i = 0; err == QP_OK && i < out->specs.n; i++) {
		struct qpc_spec *s = &out->specs.v[i];

		qpc_peer_inherit(&s->peer, &common);
		err = qpc_peer_check(&s->peer, s->name != NULL ? s->name : s->remote, msg);
	}
	return err;
}

/* What a mistake quotes from the file may be anything, a terminal's commands included. */
static void
make_printable(struct qp_errmsg *msg)
{
	struct qp_errmsg raw = *msg;

	qp_slice_printable(qp_slice_of(raw.text), msg->text, sizeof(msg->text));
}

int
qpc_config_load(const struct qpc_options *o, struct qpc_config *out, struct qp_errmsg *msg)
{
	struct file *f = NULL;
	int err;

	*out = (struct qpc_config) {.set = o->set};
	if (o->config == NULL) {
		out->specs = o->specs;
		return QP_OK;
	}
	err = read_file(o->config, &f, msg);
	if (err != QP_OK) {
		make_printable(msg);
		return err;
	}
	out->data = f;
	err = merge_settings(o, f, &out->set, msg);
	if (err == QP_OK)
		err = take_forwards(o, f, out, msg);
	if (err != QP_OK) {
		make_printable(msg);
		qpc_config_free(out);
	}
	return err;
}

void
qpc_config_free(struct qpc_config *c)
{
	const cyaml_config_t config = {.mem_fn = cyaml_mem};

	if (c->data != NULL)
		cyaml_free(&config, &file_schema, c->data, 0);
	*c = (struct qpc_config) {.data = NULL};
}

static bool
same(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool
qpc_spec_equal(const struct qpc_spec *a, const struct qpc_spec *b)
{
	const struct qpc_peer *p = &a->peer, *q = &b->peer;

	return a->kind == b->kind && same(a->name, b->name) && same(a->remote, b->remote) &&
		same(a->local, b->local) && same(p->server, q->server) && same(p->psk, q->psk) &&
		same(p->privkey, q->privkey) && same(p->privkey_file, q->privkey_file) &&
		same(p->server_pubkey, q->server_pubkey) &&
		same(p->server_pubkey_file, q->server_pubkey_file);
}
