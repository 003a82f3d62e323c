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
	const struct qp_ipaddr *a = &f->remote;
	/* IPv4 addresses have a space of their own: behind ff00::/8, from which nobody sends. */
	struct qp_ipaddr v4 = {.b = {[0] = 0xff, [4] = a->b[12], a->b[13], a->b[14], a->b[15]}};

	return qp_ipaddr_is_v4(a) ? v4.q[0] : a->q[0];
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
