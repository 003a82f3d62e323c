/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections each source address has: an IPv4 address or an IPv6
 * /64, which is what one customer has. Kept only where a limit is set. Thread:
 * the owning lcore.
 */
#include <stdlib.h>

#include "dataplane/tcp/internal.h"
#include "dataplane/tcp/siphash.h"

struct source {
	struct source *next; /* same bucket */
	uint64_t prefix;
	uint32_t conns;
};

static uint64_t
prefix_of(const struct qp_flow *f)
{
	/* ::ffff:0:0/96 is no /64 of anybody's: IPv4 addresses have a space of their own. */
	return qp_ipaddr_is_v4(&f->remote) ? f->remote.w[3] : f->remote.q[0];
}

static struct source **
find(struct qp_tcp *tcp, uint64_t prefix)
{
	uint64_t words[2] = {prefix, 2};
	struct source **at = &tcp->sources[qp_siphash13(tcp->table_key, words, 2) & tcp->bucket_mask];

	while (*at != NULL && (*at)->prefix != prefix)
		at = &(*at)->next;
	return at;
}

bool
qp_tcp_sources_init(struct qp_tcp *tcp)
{
	if (tcp->cfg.max_conns_per_source == 0)
		return true;
	qp_slab_init(&tcp->source_slab, sizeof(struct source));
	tcp->sources = calloc((size_t)tcp->bucket_mask + 1, sizeof(*tcp->sources));
	return tcp->sources != NULL;
}

void
qp_tcp_sources_release(struct qp_tcp *tcp)
{
	if (tcp->sources == NULL)
		return;
	qp_slab_release(&tcp->source_slab);
	free(tcp->sources);
}

bool
qp_tcp_source_take(struct qp_tcp *tcp, const struct qp_flow *flow)
{
	uint64_t prefix = prefix_of(flow);
	struct source **at, *s;

	if (tcp->sources == NULL)
		return true;
	at = find(tcp, prefix);
	s = *at;
	if (s == NULL) {
		s = qp_slab_get(&tcp->source_slab);
		if (s == NULL)
			return false;
		*s = (struct source) {.prefix = prefix};
		*at = s;
	}
	if (s->conns >= tcp->cfg.max_conns_per_source)
		return false;
	s->conns++;
	return true;
}

void
qp_tcp_source_give(struct qp_tcp *tcp, const struct qp_flow *flow)
{
	struct source **at, *s;

	if (tcp->sources == NULL)
		return;
	at = find(tcp, prefix_of(flow));
	s = *at;
	if (--s->conns == 0) {
		*at = s->next;
		qp_slab_put(&tcp->source_slab, s);
	}
}
