/* SPDX-License-Identifier: Apache-2.0 */
/* The shared block: counters by name, and sizes that are lies. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "common/shared.h"

#define WORKERS    3u
#define RING_BYTES 128u

static struct qp_gen_shared *block;
static struct qp_shared_map *map;
static struct qp_shared_name *names;
static struct qp_shared_view view;
static struct qp_errmsg msg;

static uint64_t
bytes(void)
{
	return qp_shared_bytes(WORKERS, RING_BYTES);
}

static void
start(void)
{
	block = aligned_alloc(64, (bytes() + 63) / 64 * 64);
	cr_assert_not_null(block);
	memset(block, 0xa5, bytes()); /* as a zone may be that was in use before */
	qp_shared_init(block, WORKERS, RING_BYTES);
	map = (struct qp_shared_map *)(void *)((char *)block + block->map_at);
	names = (struct qp_shared_name *)(void *)(map + 1);
}

static void
stop(void)
{
	free(block);
}

TestSuite(shared, .init = start, .fini = stop);

static int
open_block(void)
{
	return qp_shared_open(&view, block, bytes(), &msg);
}

#define AT(member) offsetof(struct qp_worker_shared, member)

Test(shared, counter_is_read_back_by_its_place)
{
	qp_shared_worker(block, 2)->c.tunnels_active = 5;
	qp_shared_worker(block, 1)->udp[3] = 6;
	qp_shared_worker(block, 0)->quic_rtt.sum_us = 7;
	cr_assert_eq(open_block(), 0, "%s", msg.text);
	cr_expect_eq(view.nworkers, WORKERS);
	cr_expect_eq(qp_shared_count(&view, 2, AT(c.tunnels_active)), 5u);
	cr_expect_eq(qp_shared_count(&view, 0, AT(c.tunnels_active)), 0u);
	cr_expect_eq(qp_shared_count(&view, 1, AT(udp[3])), 6u);
	cr_expect_eq(qp_shared_count(&view, 0, AT(quic_rtt.sum_us)), 7u);
	cr_expect_eq(qp_shared_count(&view, WORKERS, AT(c.loops)), 0u, "there is no such worker");
}

Test(shared, every_word_that_is_written_has_a_name_of_its_own)
{
	bool named[QP_WORKER_WORDS] = {false};
	struct qp_shared_name name, other;

	cr_assert_eq(open_block(), 0, "%s", msg.text);
	cr_expect_gt(view.nnames, sizeof(struct qp_worker_counters) / 8);
	for (uint32_t i = 0; i < view.nnames; i++) {
		cr_assert(qp_shared_name(&view, i, &name), "name %u", i);
		for (uint32_t k = 0; k < name.n; k++) {
			cr_expect_not(named[name.at / 8 + k], "%s is where another is", name.name);
			named[name.at / 8 + k] = true;
		}
		for (uint32_t k = 0; k < i; k++) {
			cr_assert(qp_shared_name(&view, k, &other));
			cr_expect_str_neq(name.name, other.name);
		}
	}
	for (size_t i = 0; i < sizeof(struct qp_worker_counters) / 8; i++)
		cr_expect(named[i], "counter %zu has no name", i);
}

Test(shared, counters_of_another_release_are_found_by_name)
{
	struct qp_shared_name name;
	bool found = false;

	for (uint32_t i = 0; i < map->nnames; i++) {
		if (strcmp(names[i].name, "loops") == 0)
			strcpy(names[i].name, "tcp_turns_of_tomorrow");
		else if (strcmp(names[i].name, "sleeps") == 0)
			names[i].at = AT(tcp[79]);
		else if (strcmp(names[i].name, "tcp_rtt") == 0)
			names[i].n--; /* buckets of another number mean another thing */
	}
	qp_shared_worker(block, 0)->c.loops = 11;
	qp_shared_worker(block, 0)->c.sleeps = 12;
	qp_shared_worker(block, 0)->tcp[79] = 13;
	qp_shared_worker(block, 0)->tcp_rtt.bucket[0] = 14;
	cr_assert_eq(open_block(), 0, "%s", msg.text);
	cr_expect_not(qp_shared_has(&view, AT(c.loops)));
	cr_expect_eq(qp_shared_count(&view, 0, AT(c.loops)), 0u);
	cr_expect(qp_shared_has(&view, AT(c.sleeps)));
	cr_expect_eq(qp_shared_count(&view, 0, AT(c.sleeps)), 13u);
	cr_expect_not(qp_shared_has(&view, AT(tcp_rtt)));
	for (uint32_t i = 0; i < view.nnames; i++) {
		if (qp_shared_name(&view, i, &name) && strcmp(name.name, "tcp_turns_of_tomorrow") == 0) {
			found = true;
			cr_expect_eq(qp_shared_word(&view, 0, &name, 0), 11u);
			cr_expect_eq(qp_shared_word(&view, 0, &name, 1), 0u);
		}
	}
	cr_expect(found);
}

Test(shared, counters_of_version_3_are_read_by_the_names_that_it_had)
{
	uint64_t *words = (uint64_t *)(void *)block->door[1].of_3;

	block->version = 3;
	block->newest = block->map_at = 0;
	block->layout = 0xbfb5f660;
	words[0] = 1;
	words[28] = 2;
	words[416 / 8] = 3;
	words[1056 / 8 + 36] = 4; /* its last of UDP */
	words[1440 / 8] = 5;
	words[1712 / 8 + 17] = 6;
	cr_assert_eq(open_block(), 0, "%s", msg.text);
	cr_expect_eq(qp_shared_count(&view, 1, AT(c.loops)), 1u);
	cr_expect_eq(qp_shared_count(&view, 1, AT(c.tunnels_active)), 2u);
	cr_expect_eq(qp_shared_count(&view, 1, AT(tcp[0])), 3u);
	cr_expect_eq(qp_shared_count(&view, 1, AT(udp[36])), 4u, "icmp_ignored");
	cr_expect_eq(qp_shared_count(&view, 1, AT(ip_drops[0])), 5u);
	cr_expect_eq(qp_shared_count(&view, 1, AT(quic_rtt.sum_us)), 6u);
	cr_expect_not(qp_shared_has(&view, AT(c.ctl_unknown)), "it had none");
	cr_expect_eq(qp_shared_ring_at(&view, 0, 0, 0), 30848u);
}

Test(shared, block_of_version_3_with_other_counters_has_rings_alone)
{
	block->version = 3;
	block->newest = 0;
	block->map_at = 0;
	block->layout = 1; /* of some other day */
	cr_assert_eq(open_block(), 0, "%s", msg.text);
	cr_expect_eq(view.nnames, 0u);
	cr_expect_eq(view.newest, 3u);
	cr_expect_eq(qp_shared_ring_at(&view, 1, 2, 1), 30848u + 11 * RING_BYTES);
	cr_expect_not(qp_shared_has(&view, AT(c.loops)));
	cr_expect_eq(qp_shared_count(&view, 0, AT(c.loops)), 0u);
}

Test(shared, block_of_the_next_version_is_read_by_its_sizes)
{
	const uint64_t len = bytes() + 4096;
	char *bigger = aligned_alloc(64, (len + 63) / 64 * 64);
	struct qp_shared_map m = *map;
	struct qp_shared_name name = names[0];

	/* A longer map with longer names, of which only "loops" is left, elsewhere in a larger part. */
	memcpy(bigger, block, bytes());
	m.map_bytes = sizeof(m) + 24;
	m.name_bytes = sizeof(name) + 8;
	m.nnames = 1;
	m.workers_at = sizeof(*block) + 4 * WORKERS * RING_BYTES;
	m.worker_bytes = 64;
	name.at = 56;
	memcpy(bigger + bytes() / 8 * 8, &m, sizeof(m));
	memcpy(bigger + bytes() / 8 * 8 + m.map_bytes, &name, sizeof(name));
	((struct qp_gen_shared *)(void *)bigger)->map_at = (uint32_t)(bytes() / 8 * 8);
	((struct qp_gen_shared *)(void *)bigger)->version = QP_IPC_VERSION;
	((struct qp_gen_shared *)(void *)bigger)->newest = QP_IPC_VERSION + 1;
	memcpy(bigger + m.workers_at + 2 * 64 + 56, &(uint64_t) {99}, 8);
	cr_assert_eq(qp_shared_open(&view, bigger, len, &msg), 0, "%s", msg.text);
	cr_expect_eq(qp_shared_count(&view, 2, AT(c.loops)), 99u);
	cr_expect_not(qp_shared_has(&view, AT(c.sleeps)));
	free(bigger);
}

struct lie {
	const char *about;
	size_t at; /* in the block; with `in_map`, in the map */
	uint32_t value;
	bool in_map;
};

#define BLOCK(field, v) {#field, offsetof(struct qp_gen_shared, field), v, false}
#define MAP(field, v)   {#field, offsetof(struct qp_shared_map, field), v, true}

ParameterizedTestParameters(shared, size_that_is_a_lie_is_refused)
{
	static struct lie lies[] = {
		BLOCK(version, 0), BLOCK(version, QP_IPC_VERSION + 1), BLOCK(nworkers, 0),
		BLOCK(nworkers, QP_MAX_WORKERS + 1), BLOCK(nworkers, QP_MAX_WORKERS),
		BLOCK(ring_bytes, RING_BYTES + 1), BLOCK(ring_bytes, 0xffffffc0),
		BLOCK(map_at, 1), BLOCK(map_at, 0xfffffff8),
		MAP(map_bytes, 0), MAP(map_bytes, 0xfffffff8), MAP(rings_at, 32),
		MAP(rings_at, 0xffffffc0), MAP(msg_bytes, QP_MSG_BYTES * 2),
		MAP(workers_at, 0xfffffff8), MAP(workers_at, 4), MAP(worker_bytes, 0xfffffff8),
		MAP(worker_bytes, 12), MAP(name_bytes, 8), MAP(name_bytes, 49),
		MAP(name_bytes, 0xfffffff8), MAP(nnames, 0xffffffff),
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(struct lie *lie, shared, size_that_is_a_lie_is_refused)
{
	memcpy((lie->in_map ? (char *)map : (char *)block) + lie->at, &lie->value, 4);
	cr_expect_lt(open_block(), 0, "%u", lie->value);
}

Test(shared, name_that_leads_outside_is_left_alone)
{
	struct qp_shared_name name;

	names[0].at = sizeof(struct qp_worker_shared);
	names[1].at = 4;
	names[2].n = 0xffff;
	memset(names[3].name, 'x', sizeof(names[3].name));
	names[4].name[0] = '\0';
	names[5].n = 0;
	cr_assert_eq(open_block(), 0, "%s", msg.text);
	for (uint32_t i = 0; i < 6; i++) {
		cr_expect_not(qp_shared_name(&view, i, &name), "name %u", i);
		cr_expect_not(qp_shared_has(&view, i * 8), "counter %u", i);
	}
	cr_expect(qp_shared_has(&view, 6 * 8));
}
