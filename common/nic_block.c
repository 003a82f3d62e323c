/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocked networks in shared memory: a hash table with linear probing, at most
 * half full. A look-up costs a probe for each length that is in use. What is
 * removed leaves no hole: those behind it move up.
 */
#include "common/nic_block.h"

#include <string.h>

#define MASK (QP_NIC_BLOCKED_SLOTS - 1u)
/* A writer changes a few words; who has seen it change so often takes what was there. */
#define TRIES 4u

/* The network in its form in the table. */
static void
network(const struct in6_addr *addr, unsigned prefix, uint32_t out[4])
{
	struct in6_addr net = *addr;

	for (unsigned i = 0; i < 16; i++) {
		const unsigned bits = prefix > i * 8 ? prefix - i * 8 : 0;

		if (bits < 8)
			net.s6_addr[i] &= (uint8_t)(0xff00u >> bits);
	}
	memcpy(out, &net, sizeof(net));
}

static uint32_t
place(const uint32_t addr[4], uint32_t bits)
{
	uint64_t h = bits;

	for (unsigned i = 0; i < 4; i++)
		h = (h ^ addr[i]) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 40) & MASK;
}

static uint32_t
load(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void
store(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* The slot that has it; QP_NIC_BLOCKED_SLOTS: none. `*end`: the free one that ended the search. */
static uint32_t
search(const struct qp_nic_blocked *b, const uint32_t addr[4], uint32_t bits, uint32_t *end)
{
	uint32_t at = place(addr, bits);

	for (uint32_t n = 0; n < QP_NIC_BLOCKED_SLOTS; n++, at = (at + 1) & MASK) {
		const struct qp_nic_blocked_slot *s = &b->slot[at];
		const uint32_t has = load(&s->bits);

		if (has == 0)
			break;
		if (has == bits && load(&s->addr[0]) == addr[0] && load(&s->addr[1]) == addr[1] &&
			load(&s->addr[2]) == addr[2] && load(&s->addr[3]) == addr[3])
			return at;
	}
	*end = at;
	return QP_NIC_BLOCKED_SLOTS;
}

/* Readers that see this look again. */
static void
begin(struct qp_nic_blocked *b)
{
	store(&b->seq, b->seq + 1);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* pairs with `look`'s: a change is not seen before the odd number */
}

static void
end(struct qp_nic_blocked *b)
{
	__atomic_store_n(&b->seq, b->seq + 1, __ATOMIC_RELEASE);
}

static void
count(struct qp_nic_blocked *b, unsigned prefix, int by)
{
	const uint64_t bit = UINT64_C(1) << prefix % 64;
	uint64_t lengths = b->lengths[prefix / 64];

	b->count[prefix] += (uint32_t)by;
	lengths = b->count[prefix] > 0 ? lengths | bit : lengths & ~bit;
	__atomic_store_n(&b->lengths[prefix / 64], lengths, __ATOMIC_RELAXED);
	store(&b->n, b->n + (uint32_t)by);
}

static void
put(struct qp_nic_blocked_slot *s, const uint32_t addr[4], uint32_t bits)
{
	for (unsigned i = 0; i < 4; i++)
		store(&s->addr[i], addr[i]);
	store(&s->bits, bits);
}

int
qp_nic_block_add(struct qp_nic_blocked *b, const struct in6_addr *addr, unsigned prefix)
{
	uint32_t net[4], at = 0;

	if (prefix > 128)
		return QP_E_INVAL;
	network(addr, prefix, net);
	if (search(b, net, prefix + 1, &at) != QP_NIC_BLOCKED_SLOTS)
		return 0;
	if (b->n >= QP_NIC_MAX_BLOCKED)
		return QP_E_FULL;
	begin(b);
	put(&b->slot[at], net, prefix + 1);
	count(b, prefix, 1);
	end(b);
	return 0;
}

bool
qp_nic_block_has(const struct qp_nic_blocked *b, const struct in6_addr *addr, unsigned prefix)
{
	uint32_t net[4], unused;

	if (prefix > 128)
		return false;
	network(addr, prefix, net);
	return search(b, net, prefix + 1, &unused) != QP_NIC_BLOCKED_SLOTS;
}

/* Whether what is at `from` may move to `to`: its own place is not between them. */
static bool
may_move(const struct qp_nic_blocked *b, uint32_t from, uint32_t to)
{
	const uint32_t home = place(b->slot[from].addr, b->slot[from].bits);

	return ((from - home) & MASK) >= ((from - to) & MASK);
}

int
qp_nic_block_remove(struct qp_nic_blocked *b, const struct in6_addr *addr, unsigned prefix)
{
	uint32_t net[4], hole, at, unused;

	if (prefix > 128)
		return QP_E_NOTFOUND;
	network(addr, prefix, net);
	hole = search(b, net, prefix + 1, &unused);
	if (hole == QP_NIC_BLOCKED_SLOTS)
		return QP_E_NOTFOUND;
	begin(b);
	for (at = (hole + 1) & MASK; b->slot[at].bits != 0; at = (at + 1) & MASK) {
		if (!may_move(b, at, hole))
			continue;
		put(&b->slot[hole], b->slot[at].addr, b->slot[at].bits);
		hole = at;
	}
	store(&b->slot[hole].bits, 0);
	count(b, prefix, -1);
	end(b);
	return 0;
}

void
qp_nic_block_clear(struct qp_nic_blocked *b)
{
	const uint32_t seq = b->seq;

	store(&b->seq, seq | 1u);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	store(&b->n, 0);
	memset(b->lengths, 0, sizeof(b->lengths));
	memset(b->count, 0, sizeof(b->count));
	memset(b->slot, 0, sizeof(b->slot));
	__atomic_store_n(&b->seq, (seq | 1u) + 1, __ATOMIC_RELEASE);
}

static bool
look(const struct qp_nic_blocked *b, const struct in6_addr *addr)
{
	uint32_t net[4], unused;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t lengths = __atomic_load_n(&b->lengths[i], __ATOMIC_RELAXED);

		for (; lengths != 0; lengths &= lengths - 1) {
			const unsigned prefix = i * 64 + (unsigned)__builtin_ctzll(lengths);

			network(addr, prefix, net);
			if (search(b, net, prefix + 1, &unused) != QP_NIC_BLOCKED_SLOTS)
				return true;
		}
	}
	return false;
}

bool
qp_nic_block_find(const struct qp_nic_blocked *b, const struct in6_addr *addr)
{
	bool found = false;

	for (unsigned i = 0; i < TRIES; i++) {
		const uint32_t seq = __atomic_load_n(&b->seq, __ATOMIC_ACQUIRE);

		found = look(b, addr);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if ((seq & 1u) == 0 && load(&b->seq) == seq)
			break;
	}
	return found;
}
