/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients with tunnels: a table by id. Ids are hashes of names, so their lower
 * bits spread by themselves. Loop thread.
 */
#include "controlplane/members.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096u

struct qp_members {
	TAILQ_HEAD(, qp_seat) owed;
	LIST_HEAD(, qp_member) bucket[BUCKETS];
};

struct qp_members *
qp_members_new(void)
{
	struct qp_members *ms = calloc(1, sizeof(*ms));

	if (ms != NULL)
		TAILQ_INIT(&ms->owed);
	return ms;
}

static void
free_member(struct qp_members *ms, struct qp_member *m)
{
	struct qp_seat *seat;

	while ((seat = LIST_FIRST(&m->seats)) != NULL) {
		qp_members_settled(ms, seat);
		LIST_REMOVE(seat, of_member);
		free(seat);
	}
	LIST_REMOVE(m, in_bucket);
	free(m);
}

void
qp_members_free(struct qp_members *ms)
{
	if (ms == NULL)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (!LIST_EMPTY(&ms->bucket[i]))
			free_member(ms, LIST_FIRST(&ms->bucket[i]));
	}
	free(ms);
}

struct qp_member *
qp_members_find(struct qp_members *ms, const char *name, uint32_t id)
{
	struct qp_member *m;

	LIST_FOREACH (m, &ms->bucket[id % BUCKETS], in_bucket) {
		if (m->id == id && strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

static struct qp_member *
make_member(struct qp_members *ms, const struct qp_msg_identity *i)
{
	struct qp_member *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	_Static_assert(sizeof(m->name) == sizeof(i->name), "names fit");
	memcpy(m->name, i->name, sizeof(m->name));
	m->id = i->client_id;
	TAILQ_INIT(&m->tunnels);
	LIST_INSERT_HEAD(&ms->bucket[m->id % BUCKETS], m, in_bucket);
	return m;
}

static struct qp_seat *
find_seat(struct qp_member *m, const struct qp_origin *at)
{
	struct qp_seat *seat;

	LIST_FOREACH (seat, &m->seats, of_member) {
		if (seat->server_id == at->server_id && seat->worker == at->worker)
			return seat;
	}
	return NULL;
}

static struct qp_seat *
make_seat(struct qp_member *m, const struct qp_origin *at)
{
	struct qp_seat *seat = calloc(1, sizeof(*seat));

	if (seat == NULL)
		return NULL;
	seat->member = m;
	seat->server_id = at->server_id;
	seat->worker = at->worker;
	LIST_INSERT_HEAD(&m->seats, seat, of_member);
	return seat;
}

struct qp_seat *
qp_members_add(struct qp_members *ms, struct qp_tunnel *tun, bool *first)
{
	struct qp_member *m;
	struct qp_seat *seat;

	tun->identity.name[sizeof(tun->identity.name) - 1] = '\0';
	m = qp_members_find(ms, tun->identity.name, tun->identity.client_id);
	if (m == NULL)
		m = make_member(ms, &tun->identity);
	if (m == NULL)
		return NULL;
	seat = find_seat(m, &tun->origin);
	*first = seat == NULL;
	if (seat == NULL)
		seat = make_seat(m, &tun->origin);
	if (seat == NULL) {
		if (m->ntunnels == 0)
			free_member(ms, m);
		return NULL;
	}
	seat->tunnels++;
	m->ntunnels++;
	TAILQ_INSERT_TAIL(&m->tunnels, tun, of_member);
	tun->member = m;
	return seat;
}

bool
qp_members_remove(struct qp_members *ms, struct qp_tunnel *tun)
{
	struct qp_member *m = tun->member;
	struct qp_seat *seat;
	bool last;

	if (m == NULL)
		return false;
	tun->member = NULL;
	TAILQ_REMOVE(&m->tunnels, tun, of_member);
	seat = find_seat(m, &tun->origin);
	last = --seat->tunnels == 0;
	if (last) {
		qp_members_settled(ms, seat);
		LIST_REMOVE(seat, of_member);
		free(seat);
	}
	if (--m->ntunnels == 0)
		free_member(ms, m);
	return last;
}

void
qp_members_each(struct qp_members *ms, void (*each)(void *ctx, struct qp_member *m), void *ctx)
{
	struct qp_member *m;

	for (unsigned i = 0; i < BUCKETS; i++) {
		LIST_FOREACH (m, &ms->bucket[i], in_bucket)
			each(ctx, m);
	}
}

void
qp_members_owe(struct qp_members *ms, struct qp_seat *seat)
{
	if (seat->owed)
		return;
	seat->owed = true;
	TAILQ_INSERT_TAIL(&ms->owed, seat, in_owed);
}

void
qp_members_settled(struct qp_members *ms, struct qp_seat *seat)
{
	if (!seat->owed)
		return;
	seat->owed = false;
	TAILQ_REMOVE(&ms->owed, seat, in_owed);
}

struct qp_seat *
qp_members_owed(struct qp_members *ms)
{
	return TAILQ_FIRST(&ms->owed);
}
