/* SPDX-License-Identifier: Apache-2.0 */
/* Nic mode's blocked networks: against a list that is searched from end to end, and beside a writer. */
#include "common/nic_block.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct in6_addr
ip(const char *text)
{
	struct in6_addr a;

	cr_assert(inet_pton(AF_INET6, text, &a) == 1, "%s", text);
	return a;
}

static struct qp_nic_blocked *
table(void)
{
	return calloc(1, sizeof(struct qp_nic_blocked));
}

Test(nic_block, network_blocks_its_addresses_alone)
{
	struct qp_nic_blocked *b = table();
	const struct in6_addr net = ip("::ffff:192.0.2.77"), in = ip("::ffff:192.0.2.255"),
			      out = ip("::ffff:192.0.3.0"), six = ip("2001:db8::1");

	cr_assert(not(qp_nic_blocked(b, &in)));
	cr_assert(eq(int, qp_nic_block_add(b, &net, 120), 0));
	cr_assert(qp_nic_blocked(b, &in));
	cr_assert(not(qp_nic_blocked(b, &out)));
	cr_assert(not(qp_nic_blocked(b, &six)));
	cr_assert(eq(int, qp_nic_block_add(b, &six, 0), 0));
	cr_assert(qp_nic_blocked(b, &out), "::/0 is everybody");
	cr_assert(eq(int, qp_nic_block_remove(b, &six, 0), 0));
	cr_assert(eq(int, qp_nic_block_remove(b, &six, 0), QP_E_NOTFOUND));
	cr_assert(eq(int, qp_nic_block_remove(b, &net, 121), QP_E_NOTFOUND));
	cr_assert(eq(int, qp_nic_block_add(b, &six, 129), QP_E_INVAL));
	cr_assert(eq(int, qp_nic_block_remove(b, &in, 120), 0), "host bits do not count");
	cr_assert(eq(u32, b->n, 0));
	cr_assert(not(qp_nic_blocked(b, &in)));
	free(b);
}

Test(nic_block, full_table_says_so_and_a_known_network_is_still_welcome)
{
	struct qp_nic_blocked *b = table();
	struct in6_addr a = ip("2001:db8::");

	for (uint32_t i = 0; i < QP_NIC_MAX_BLOCKED; i++) {
		memcpy(a.s6_addr + 8, &i, sizeof(i));
		cr_assert(eq(int, qp_nic_block_add(b, &a, 128), 0));
	}
	cr_assert(eq(int, qp_nic_block_add(b, &a, 128), 0));
	cr_assert(eq(int, qp_nic_block_add(b, &a, 64), QP_E_FULL));
	qp_nic_block_clear(b);
	cr_assert(not(qp_nic_blocked(b, &a)));
	cr_assert(eq(int, qp_nic_block_add(b, &a, 64), 0));
	cr_assert(qp_nic_blocked(b, &a));
	free(b);
}

struct model {
	struct in6_addr addr;
	unsigned prefix;
};

static bool
same_network(const struct in6_addr *x, const struct in6_addr *y, unsigned prefix)
{
	for (unsigned i = 0; i < prefix; i++) {
		const uint8_t bit = (uint8_t)(0x80u >> i % 8);

		if ((x->s6_addr[i / 8] ^ y->s6_addr[i / 8]) & bit)
			return false;
	}
	return true;
}

static bool
model_blocks(const struct model *m, unsigned n, const struct in6_addr *a)
{
	for (unsigned i = 0; i < n; i++)
		if (same_network(&m[i].addr, a, m[i].prefix))
			return true;
	return false;
}

/* Few different bits, so that networks meet, contain each other and share slots. */
static struct in6_addr
random_address(unsigned *seed)
{
	struct in6_addr a = ip("::ffff:10.0.0.0");

	a.s6_addr[13] = (uint8_t)(rand_r(seed) & 3);
	a.s6_addr[14] = (uint8_t)(rand_r(seed) & 7);
	a.s6_addr[15] = (uint8_t)rand_r(seed);
	return a;
}

Test(nic_block, random_changes_agree_with_a_list)
{
	struct qp_nic_blocked *b = table();
	static struct model m[4000];
	unsigned n = 0, seed = 7;

	for (unsigned step = 0; step < 20000; step++) {
		struct in6_addr a = random_address(&seed);
		const unsigned prefix = 113 + (unsigned)rand_r(&seed) % 16;
		unsigned i;

		for (i = 0; i < n && (m[i].prefix != prefix || !same_network(&m[i].addr, &a, prefix)); i++)
			;
		if (rand_r(&seed) % 2 == 0 && n < 4000) {
			cr_assert(eq(int, qp_nic_block_add(b, &a, prefix), 0));
			if (i == n)
				m[n++] = (struct model) {a, prefix};
		} else {
			cr_assert(eq(int, qp_nic_block_remove(b, &a, prefix), i < n ? 0 : QP_E_NOTFOUND));
			if (i < n)
				m[i] = m[--n];
		}
		cr_assert(eq(u32, b->n, n));
		a = random_address(&seed);
		cr_assert(eq(int, qp_nic_blocked(b, &a), model_blocks(m, n, &a)));
	}
	for (; n > 0; n--)
		cr_assert(eq(int, qp_nic_block_remove(b, &m[n - 1].addr, m[n - 1].prefix), 0));
	for (unsigned i = 0; i < QP_NIC_BLOCKED_SLOTS; i++)
		cr_assert(eq(u32, b->slot[i].bits, 0));
	free(b);
}

static atomic_bool done;

/* Others come and go around the one that is looked for. */
static void *
change_neighbours(void *arg)
{
	struct qp_nic_blocked *b = arg;
	unsigned seed = 3;

	for (unsigned i = 0; i < 200000; i++) {
		struct in6_addr a = random_address(&seed);

		if (a.s6_addr[13] == 0)
			a.s6_addr[13] = 1;
		if (i & 1)
			(void)qp_nic_block_add(b, &a, 128);
		else
			(void)qp_nic_block_remove(b, &a, 128);
	}
	atomic_store(&done, true);
	return NULL;
}

Test(nic_block, reader_beside_a_writer_never_sees_a_stranger_blocked)
{
	struct qp_nic_blocked *b = table();
	const struct in6_addr free_one = ip("::ffff:10.0.0.1");
	pthread_t writer;

	cr_assert(eq(int, pthread_create(&writer, NULL, change_neighbours, b), 0));
	while (!atomic_load(&done))
		cr_assert(not(qp_nic_blocked(b, &free_one)));
	pthread_join(writer, NULL);
	free(b);
}
