/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of local ports for the workers' own connections. Loop thread. What a
 * reserved port means to the kernel is qp_port_host's matter. Reserving a block
 * takes some 10 µs a port, once in a worker's life.
 */
#include "controlplane/sources.h"

#include <sodium.h>
#include <stdlib.h>

/* Below 8192 live servers; above, whatever the kernel gives to clients is in the way here and there. */
#define FIRST_PORT 8192u
#define TRIES 64u

struct block {
	uint32_t server_id;
	uint16_t worker;
	uint16_t first;
	uint32_t count;
	int protocol;
	LIST_ENTRY(block) link;
};

struct qp_sources {
	struct qp_sources_config cfg;
	LIST_HEAD(, block) blocks;
};

struct qp_sources *
qp_sources_new(const struct qp_sources_config *cfg)
{
	struct qp_sources *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->cfg = *cfg;
	if (s->cfg.random == NULL)
		s->cfg.random = randombytes_uniform;
	LIST_INIT(&s->blocks);
	return s;
}

static void
close_ports(struct qp_sources *s, int protocol, uint16_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		s->cfg.host.close(s->cfg.host.ctx, protocol, (uint16_t)(first + i));
}

static void
drop_block(struct qp_sources *s, struct block *b)
{
	close_ports(s, b->protocol, b->first, b->count);
	LIST_REMOVE(b, link);
	free(b);
}

void
qp_sources_free(struct qp_sources *s)
{
	if (s == NULL)
		return;
	while (!LIST_EMPTY(&s->blocks))
		drop_block(s, LIST_FIRST(&s->blocks));
	free(s);
}

void
qp_sources_drop_generation(struct qp_sources *s, uint32_t server_id)
{
	struct block *b, *next;

	for (b = LIST_FIRST(&s->blocks); b != NULL; b = next) {
		next = LIST_NEXT(b, link);
		if (b->server_id == server_id)
			drop_block(s, b);
	}
}

/* All of them, or none. */
static int
open_ports(struct qp_sources *s, const struct qp_origin *worker, int protocol, uint16_t first,
	uint32_t count, struct qp_errmsg *msg)
{
	for (uint32_t i = 0; i < count; i++) {
		int err = s->cfg.host.open(s->cfg.host.ctx, protocol, (uint16_t)(first + i), NULL,
			worker, msg);

		if (err != 0) {
			close_ports(s, protocol, first, i);
			return err;
		}
	}
	return 0;
}

static int
open_block(struct qp_sources *s, const struct qp_origin *worker, int protocol, uint16_t *first,
	struct qp_errmsg *msg)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint16_t candidate =
			(uint16_t)(FIRST_PORT + s->cfg.random(65536 - s->cfg.count - FIRST_PORT + 1));
		int err = open_ports(s, worker, protocol, candidate, s->cfg.count, msg);

		if (err == 0)
			*first = candidate;
		if (err != QP_E_INUSE)
			return err;
	}
	return qp_fail(msg, QP_E_INUSE,
		"this host has no %u free ports in a row for the gateway's own connections: lower "
		"--local-forward-ports", s->cfg.count);
}

static struct block *
find_block(struct qp_sources *s, const struct qp_origin *worker, int protocol)
{
	struct block *b;

	LIST_FOREACH(b, &s->blocks, link) {
		if (b->server_id == worker->server_id && b->worker == worker->worker &&
			b->protocol == protocol)
			return b;
	}
	return NULL;
}

static void
fill_block(struct qp_sources *s, struct block *b, const struct qp_origin *worker, int protocol,
	uint16_t first, uint32_t count)
{
	*b = (struct block) {.server_id = worker->server_id, .worker = worker->worker,
		.first = first, .count = count, .protocol = protocol};
	LIST_INSERT_HEAD(&s->blocks, b, link);
}

int
qp_sources_take(struct qp_sources *s, const struct qp_origin *worker, int protocol,
	uint16_t *first, uint16_t *count, struct qp_errmsg *msg)
{
	struct block *b = find_block(s, worker, protocol);
	int err;

	if (b != NULL) {
		*first = b->first;
		*count = (uint16_t)b->count;
		return 0;
	}
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	err = open_block(s, worker, protocol, first, msg);
	if (err != 0) {
		free(b);
		return err;
	}
	*count = (uint16_t)s->cfg.count;
	fill_block(s, b, worker, protocol, *first, s->cfg.count);
	return 0;
}

int
qp_sources_adopt(struct qp_sources *s, const struct qp_origin *worker, int protocol,
	uint16_t first, uint16_t count, struct qp_errmsg *msg)
{
	struct block *b;
	int err;

	if (count == 0 || find_block(s, worker, protocol) != NULL)
		return 0;
	if (first == 0 || first + count > 65536)
		return qp_fail(msg, QP_E_INVAL, "%u ports from %u on are no block", count, first);
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return qp_fail(msg, QP_E_NOMEM, "the gateway is out of memory");
	err = open_ports(s, worker, protocol, first, count, msg);
	if (err == 0)
		fill_block(s, b, worker, protocol, first, count);
	else
		free(b);
	return err;
}
