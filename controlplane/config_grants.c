/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client, a group or `defaults` grants: a function for each kind of key.
 * Main or loop thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/config_impl.h"

struct taking {
	struct qp_config_grants *c;
	const struct qp_config_at *at;
	struct qp_mistakes *m;
};

/* The place of one item, which may be lines below its key. */
static bool
refuse(const struct taking *t, const yaml_node_t *node, const char *text, const char *expected)
{
	qp_mistakes_add(t->m, QP_E_INVAL, "%s:%u: %s '%.96s': expected %s", t->at->file->path,
		qp_yaml_line(node), t->at->key, text, expected);
	return false;
}

static bool
take_ports(void *ctx, const char *text, const yaml_node_t *node)
{
	struct taking *t = ctx;
	struct qp_grants *g = &t->c->g;
	struct qp_port_range *list = (struct qp_port_range *)(uintptr_t)g->ports;
	struct qp_errmsg msg;
	int err = qp_port_ranges_parse(text, &g->any_port, &list, &g->nports, &msg);

	g->ports = list;
	t->c->ports = true;
	return err == 0 || refuse(t, node, text, msg.text);
}

static bool
take_locals(void *ctx, const char *text, const yaml_node_t *node)
{
	struct taking *t = ctx;
	struct qp_allow *a = (struct qp_allow *)(uintptr_t)t->c->g.locals;
	struct qp_errmsg msg;

	if (a == NULL) {
		a = calloc(1, sizeof(*a));
		if (a == NULL)
			return refuse(t, node, text, "memory for it");
		t->c->g.locals = a;
	}
	t->c->locals = true;
	if (strcmp(text, "any") == 0)
		a->any = true;
	else if (strcmp(text, "none") != 0 && qp_allow_add(a, text, &msg) != 0)
		return refuse(t, node, text, msg.text);
	return true;
}

static bool
take_sources(void *ctx, const char *text, const yaml_node_t *node)
{
	struct taking *t = ctx;
	struct qp_grants *g = &t->c->g;
	struct qp_msg_network *list = (struct qp_msg_network *)(uintptr_t)g->sources, *grown;
	struct qp_errmsg msg;

	t->c->sources = true;
	if (strcmp(text, "any") == 0)
		return true;
	if (g->nsources == QP_CLIENT_MAX_SOURCES)
		return refuse(t, node, text, "96 networks at most");
	grown = realloc(list, (g->nsources + 1) * sizeof(*grown));
	if (grown == NULL)
		return refuse(t, node, text, "memory for it");
	g->sources = grown;
	if (qp_network_parse(text, &grown[g->nsources], &msg) != 0)
		return refuse(t, node, text, msg.text);
	g->nsources++;
	return true;
}

/* Digits, and with `units` K, M or G behind them (1000 of the next smaller). */
static bool
parse_count(const char *text, uint64_t max, bool units, uint64_t *out)
{
	static const char letters[] = "KMG";
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return false;
	}
	if (p == text)
		return false;
	if (units && *p != '\0') {
		/* Not strchr(): of a space it would find the NUL that ends the letters. */
		const char *letter = memchr(letters, *p++ & ~0x20, sizeof(letters) - 1);

		if (letter == NULL)
			return false;
		for (const char *l = letters; l <= letter; l++) {
			if (__builtin_mul_overflow(value, (uint64_t)1000, &value))
				return false;
		}
	}
	*out = value;
	return *p == '\0' && value <= max;
}

/* Per second, in bits as people and providers say it; 8 of them are the least. */
static bool
take_bandwidth(struct taking *t, const char *text, bool *given, uint64_t *bytes_per_s)
{
	uint64_t bits;

	*given = true;
	if (!parse_count(text, 1000000000000, true, &bits) || (bits != 0 && bits < 8))
		return refuse(t, t->at->node, text,
			"bits a second, such as 10M (K, M, G: thousands, millions, thousands of "
			"millions; 1000G at most; 0: no limit)");
	*bytes_per_s = bits / 8;
	return true;
}

static bool
take_number(struct taking *t, const char *text, bool *given, uint32_t *number)
{
	uint64_t value;

	*given = true;
	if (!parse_count(text, UINT32_MAX, false, &value))
		return refuse(t, t->at->node, text, "a number from 0 (no limit) to 4294967295");
	*number = (uint32_t)value;
	return true;
}

/* RFC 3339, in UTC: 2027-01-01T00:00:00Z; a day alone is its beginning. */
static bool
take_expiry(struct taking *t, const char *text)
{
	struct tm tm = {0};
	const char *end;
	time_t at;
	int day;

	t->c->expires = true;
	t->c->g.expires_at = 0;
	if (strcmp(text, "never") == 0)
		return true;
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (end == NULL) {
		memset(&tm, 0, sizeof(tm));
		end = strptime(text, "%Y-%m-%d", &tm);
	}
	day = tm.tm_mday;
	at = end != NULL && *end == '\0' ? timegm(&tm) : -1;
	/* timegm() makes the 3rd of March of the 31st of February. */
	if (at <= 0 || tm.tm_mday != day)
		return refuse(t, t->at->node, text,
			"a time in UTC, such as 2027-01-01T00:00:00Z, a day, or never");
	t->c->g.expires_at = (uint64_t)at;
	return true;
}

static bool
take_limit(struct taking *t, const char *text)
{
	struct qp_config_grants *c = t->c;
	struct qp_policy_limits *l = &c->g.limits;
	const char *key = t->at->key;

	if (strcmp(key, "tunnels") == 0)
		return take_number(t, text, &c->tunnels, &l->tunnels);
	if (strcmp(key, "forwards") == 0)
		return take_number(t, text, &c->forwards, &l->forwards);
	if (strcmp(key, "connections") == 0)
		return take_number(t, text, &c->conns, &l->conns);
	if (strcmp(key, "connections-per-second") == 0)
		return take_number(t, text, &c->conns_per_s, &l->conns_per_s);
	if (strcmp(key, "bandwidth-in") == 0)
		return take_bandwidth(t, text, &c->in, &l->in_bytes_per_s);
	if (strcmp(key, "bandwidth-out") == 0)
		return take_bandwidth(t, text, &c->out, &l->out_bytes_per_s);
	return take_expiry(t, text);
}

static bool
is_single(const char *key)
{
	static const char *const keys[] = {"tunnels", "forwards", "connections",
		"connections-per-second", "bandwidth-in", "bandwidth-out", "expires"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (strcmp(key, keys[i]) == 0)
			return true;
	}
	return false;
}

bool
qp_config_grant(struct qp_config_grants *c, const struct qp_config_at *at, struct qp_mistakes *m)
{
	struct taking t = {c, at, m};

	if (strcmp(at->key, "ports") == 0) {
		c->ports = true; /* an empty list: none */
		qp_config_each_text(at, m, take_ports, &t);
	} else if (strcmp(at->key, "local-forwards") == 0) {
		c->locals = true;
		qp_config_each_text(at, m, take_locals, &t);
	} else if (strcmp(at->key, "sources") == 0) {
		qp_config_each_text(at, m, take_sources, &t);
	} else if (!is_single(at->key)) {
		return false;
	} else if (qp_yaml_text(at->node) == NULL || qp_yaml_is_null(at->node)) {
		qp_config_expected(m, at, "one value");
	} else {
		take_limit(&t, qp_yaml_text(at->node));
	}
	return true;
}

void
qp_config_grants_free(struct qp_config_grants *c)
{
	free((void *)(uintptr_t)c->g.ports);
	free((void *)(uintptr_t)c->g.locals);
	free((void *)(uintptr_t)c->g.sources);
	memset(c, 0, sizeof(*c));
}

void
qp_config_grants_lay_over(struct qp_grants *out, const struct qp_config_grants *own)
{
	struct qp_policy_limits *to = &out->limits;
	const struct qp_policy_limits *from = &own->g.limits;

	if (own->ports) {
		out->any_port = own->g.any_port;
		out->ports = own->g.ports;
		out->nports = own->g.nports;
	}
	if (own->locals)
		out->locals = own->g.locals;
	if (own->sources) {
		out->sources = own->g.sources;
		out->nsources = own->g.nsources;
	}
	if (own->expires)
		out->expires_at = own->g.expires_at;
	to->tunnels = own->tunnels ? from->tunnels : to->tunnels;
	to->forwards = own->forwards ? from->forwards : to->forwards;
	to->conns = own->conns ? from->conns : to->conns;
	to->conns_per_s = own->conns_per_s ? from->conns_per_s : to->conns_per_s;
	to->in_bytes_per_s = own->in ? from->in_bytes_per_s : to->in_bytes_per_s;
	to->out_bytes_per_s = own->out ? from->out_bytes_per_s : to->out_bytes_per_s;
}
