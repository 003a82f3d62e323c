/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map of a generation's shared block: written, and read with distrust. The
 * list of names below is the only place that says what a counter is called.
 */
#include "common/shared.h"

#include <stdio.h>
#include <string.h>

#include "common/ipc_version.h"
#include "common/shared_impl.h"

struct known {
	const char *prefix;
	const char *name;
	uint32_t at; /* in struct qp_worker_shared */
	uint16_t n;
};

struct tcp_layout {
#define X(f, h) uint64_t f;
	QP_TCP_COUNTERS(X)
#undef X
};

struct udp_layout {
#define X(f, h) uint64_t f;
	QP_UDP_COUNTERS(X)
#undef X
};

struct nic_layout {
#define X(f, h) uint64_t f;
	QP_NIC_COUNTERS(X)
#undef X
};

struct net_layout {
#define X(f, h) uint64_t f;
	QP_NET_COUNTERS(X)
#undef X
};

enum ip_layout {
#define X(f, h) IP_LAYOUT_##f,
	QP_IP_DROPS(X)
#undef X
	IP_LAYOUT_N
};

_Static_assert(sizeof(struct tcp_layout) <= sizeof(((struct qp_worker_shared *)0)->tcp), "room");
_Static_assert(sizeof(struct udp_layout) <= sizeof(((struct qp_worker_shared *)0)->udp), "room");
_Static_assert(sizeof(struct net_layout) <= sizeof(((struct qp_worker_shared *)0)->net), "room");
_Static_assert(sizeof(struct nic_layout) <= sizeof(((struct qp_worker_shared *)0)->nic), "room");
_Static_assert(IP_LAYOUT_N <= QP_SHARED_IP_DROPS, "room");

#define AT(member) ((uint32_t)offsetof(struct qp_worker_shared, member))
#define WORKER(f, h) {"", #f, AT(c.f), 1},
#define TCP(f, h) {"tcp_", #f, AT(tcp) + (uint32_t)offsetof(struct tcp_layout, f), 1},
#define UDP(f, h) {"udp_", #f, AT(udp) + (uint32_t)offsetof(struct udp_layout, f), 1},
#define NET(f, h) {"net_", #f, AT(net) + (uint32_t)offsetof(struct net_layout, f), 1},
#define NIC(f, h) {"nic_", #f, AT(nic) + (uint32_t)offsetof(struct nic_layout, f), 1},
#define IP(f, h) {"", #f, AT(ip_drops) + (uint32_t)IP_LAYOUT_##f * 8u, 1},
#define RTT_WORDS (sizeof(struct qp_rtt_histogram) / sizeof(uint64_t))

/* IP's are QP_IP_SHORT, …: "ip_short", … in the block. */
static const struct known known[] = {QP_WORKER_COUNTERS(WORKER) QP_TCP_COUNTERS(TCP)
		QP_UDP_COUNTERS(UDP) QP_IP_DROPS(IP) QP_NET_COUNTERS(NET)
		QP_NIC_COUNTERS(NIC)
	{"", "tcp_rtt", AT(tcp_rtt), RTT_WORDS},
	{"", "quic_rtt", AT(quic_rtt), RTT_WORDS}};

#define ALIGNMENT 64u /* of rings and workers' parts */
/* More names than a release can have; the rest would only cost time. */
#define NAMES_MAX 1024u
#define NKNOWN ((uint32_t)(sizeof(known) / sizeof(known[0])))

bool
qp_counter_is_gauge(const char *name)
{
	static const char *const gauges[] = {"mbufs_in_use", "mbufs_total", "quic_connections",
		"tunnels_active", "conns_active", "relay_queued_bytes", "tcp_established",
		"tcp_conns", "udp_flows", "udp_queued_bytes", "heap_bytes", "heap_failures",
		"nic_queues", "net_neighbours", "net_held", "net_duplicates"};

	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
		if (strcmp(gauges[i], name) == 0)
			return true;
	}
	return false;
}

static void
fill_name(const struct known *k, struct qp_shared_name *out)
{
	const char *name = k->name;

	memset(out, 0, sizeof(*out));
	if (strncmp(name, "QP_IP_", 6) == 0) {
		name += 3;
		for (size_t i = 0; name[i] != '\0' && i + 1 < sizeof(out->name); i++)
			out->name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32
									       : name[i]);
	} else {
		snprintf(out->name, sizeof(out->name), "%s%s", k->prefix, name);
	}
	out->at = k->at;
	out->n = k->n;
	out->flags = qp_counter_is_gauge(out->name) ? QP_SHARED_GAUGE : 0;
}

/* Of a worker's part. */
#define PART_BYTES ((uint32_t)sizeof(struct qp_worker_shared) + QP_SHARED_AHEAD_BYTES)
#define NNAMES     (NKNOWN + (QP_IPC_AHEAD > 0))

static uint64_t
rings_end(uint32_t nworkers, uint32_t ring_bytes)
{
	const uint64_t end = sizeof(struct qp_gen_shared) + 4ull * nworkers * ring_bytes;

	return (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

uint64_t
qp_shared_bytes(uint32_t nworkers, uint32_t ring_bytes)
{
	return rings_end(nworkers, ring_bytes) +
	       (uint64_t)nworkers * PART_BYTES + sizeof(struct qp_shared_map) +
	       NNAMES * sizeof(struct qp_shared_name);
}

struct qp_worker_shared *
qp_shared_worker(struct qp_gen_shared *s, uint32_t worker)
{
	return (struct qp_worker_shared *)(void *)((char *)s +
						   rings_end(s->nworkers, s->ring_bytes) +
						   (uint64_t)worker * PART_BYTES +
						   QP_SHARED_AHEAD_BYTES);
}

void
qp_shared_init(struct qp_gen_shared *s, uint32_t nworkers, uint32_t ring_bytes)
{
	const uint64_t workers_at = rings_end(nworkers, ring_bytes);
	const uint64_t map_at = workers_at + (uint64_t)nworkers * PART_BYTES;
	struct qp_shared_map *map = (struct qp_shared_map *)(void *)((char *)s + map_at);
	struct qp_shared_name *names = (struct qp_shared_name *)(void *)(map + 1);

	memset(s, 0, sizeof(*s));
	memset((char *)s + workers_at, 0, qp_shared_bytes(nworkers, ring_bytes) - workers_at);
	s->version = qp_ipc_own.oldest;
	s->newest = qp_ipc_own.newest;
	s->nworkers = nworkers;
	s->ring_bytes = ring_bytes;
	s->map_at = (uint32_t)map_at;
	*map = (struct qp_shared_map) {.map_bytes = sizeof(*map),
		.rings_at = sizeof(*s),
		.ring_messages = QP_RING_MESSAGES,
		.msg_bytes = QP_MSG_BYTES,
		.workers_at = (uint32_t)workers_at,
		.worker_bytes = PART_BYTES,
		.name_bytes = sizeof(*names),
		.nnames = NNAMES};
	for (uint32_t i = 0; i < NKNOWN; i++) {
		fill_name(&known[i], &names[i]);
		names[i].at += QP_SHARED_AHEAD_BYTES;
	}
#if QP_IPC_AHEAD > 0
	names[NKNOWN] = (struct qp_shared_name) {.name = "ahead_messages", .n = 1};
#endif
}

/* Whether `n` items of `size` bytes from `at` on are in the block, and aligned. */
static bool
inside(uint64_t len, uint64_t at, uint64_t n, uint64_t size)
{
	return at % sizeof(uint64_t) == 0 && size % sizeof(uint64_t) == 0 && at <= len &&
	       n * size <= len - at; /* n and size are of 32 bits: no overflow */
}

bool
qp_shared_name(const struct qp_shared_view *v, uint32_t i, struct qp_shared_name *out)
{
	memcpy(out, v->names + (uint64_t)i * v->name_bytes, sizeof(*out));
	return memchr(out->name, '\0', sizeof(out->name)) != NULL && out->name[0] != '\0' &&
	       out->n > 0 && inside(v->worker_bytes, out->at, out->n, sizeof(uint64_t));
}

static bool
is_known(const struct known *k, const struct qp_shared_name *theirs)
{
	struct qp_shared_name own;

	fill_name(k, &own);
	return k->n == theirs->n && strcmp(own.name, theirs->name) == 0;
}

/* Two releases have most names in the same order: the next one is looked at first. */
static void
learn_names(struct qp_shared_view *v)
{
	struct qp_shared_name name;
	uint32_t next = 0;

	for (uint32_t i = 0; i < v->nnames; i++) {
		if (!qp_shared_name(v, i, &name))
			continue;
		for (uint32_t tried = 0; tried < NKNOWN; tried++, next++) {
			const struct known *k = &known[next % NKNOWN];

			if (!is_known(k, &name))
				continue;
			for (uint32_t w = 0; w < k->n; w++)
				v->at[k->at / sizeof(uint64_t) + w] =
					1 + name.at + w * (uint32_t)sizeof(uint64_t);
			next++;
			break;
		}
	}
}

/* What 3 tells nothing of. Another one's counters than those that we know are left alone. */
static struct qp_shared_map
map_of_3(struct qp_shared_view *v, uint32_t layout)
{
	struct qp_shared_map m = {.rings_at = sizeof(struct qp_gen_shared),
		.ring_messages = QP_RING_MESSAGES,
		.msg_bytes = QP_MSG_BYTES,
		.workers_at = offsetof(struct qp_gen_shared, door),
		.worker_bytes = sizeof(struct qp_worker_door),
		.name_bytes = sizeof(struct qp_shared_name)};

	if (layout == QP_SHARED_LAYOUT_OF_3)
		v->names = (const char *)qp_shared_names_of_3(&m.nnames);
	return m;
}

static int
take_map(struct qp_shared_view *v, uint64_t len, const struct qp_gen_shared *s,
	struct qp_errmsg *msg)
{
	const uint32_t at = s->map_at;
	struct qp_shared_map m;

	if (at == 0) {
		m = map_of_3(v, s->layout);
	} else {
		if (!inside(len, at, 1, sizeof(m)))
			return qp_fail(msg, QP_E_PROTO, "the data plane's block has no map");
		memcpy(&m, v->block + at, sizeof(m));
		if (m.map_bytes < sizeof(m) || !inside(len, at, 1, m.map_bytes) ||
			m.name_bytes < sizeof(struct qp_shared_name) ||
			!inside(len, (uint64_t)at + m.map_bytes, m.nnames, m.name_bytes) ||
			!inside(len, m.workers_at, v->nworkers, m.worker_bytes))
			return qp_fail(msg, QP_E_PROTO, "the data plane's block is cut short");
		v->names = v->block + at + m.map_bytes;
	}
	if (m.msg_bytes != QP_MSG_BYTES)
		return qp_fail(msg, QP_E_VERSION, "the data plane's messages have %u bytes, not %u",
			m.msg_bytes, QP_MSG_BYTES);
	if (m.rings_at % ALIGNMENT != 0 || v->ring_bytes % ALIGNMENT != 0 ||
		!inside(len, m.rings_at, 4ull * v->nworkers, v->ring_bytes))
		return qp_fail(msg, QP_E_PROTO, "the data plane's memory zone is too small");
	v->rings_at = m.rings_at;
	v->ring_messages = m.ring_messages;
	v->workers_at = m.workers_at;
	v->worker_bytes = m.worker_bytes;
	v->name_bytes = m.name_bytes;
	v->nnames = m.nnames < NAMES_MAX ? m.nnames : NAMES_MAX;
	return 0;
}

int
qp_shared_open(struct qp_shared_view *v, const void *block, uint64_t len, struct qp_errmsg *msg)
{
	char theirs[QP_IPC_RANGE_TEXT_BYTES], ours[QP_IPC_RANGE_TEXT_BYTES];
	struct qp_gen_shared s;
	struct qp_ipc_range peer;
	int err;

	if (len < sizeof(s))
		return qp_fail(msg, QP_E_PROTO, "the data plane's memory zone is too small");
	memcpy(&s, block, sizeof(s));
	peer = qp_ipc_range_of(s.version, s.newest);
	if (qp_ipc_common(peer, qp_ipc_own) == 0)
		return qp_fail(msg, QP_E_VERSION,
			"the data plane's block is of ring protocol %s, this program reads %s",
			qp_ipc_range_text(peer, theirs), qp_ipc_range_text(qp_ipc_own, ours));
	if (s.nworkers == 0 || s.nworkers > QP_MAX_WORKERS)
		return qp_fail(msg, QP_E_PROTO, "the data plane's block has %u workers", s.nworkers);
	memset(v, 0, sizeof(*v));
	v->block = block;
	v->version = peer.oldest;
	v->newest = peer.newest;
	v->nworkers = s.nworkers;
	v->ring_bytes = s.ring_bytes;
	err = take_map(v, len, &s, msg);
	if (err == 0)
		learn_names(v);
	return err;
}

uint64_t
qp_shared_ring_at(const struct qp_shared_view *v, uint32_t epoch, uint32_t worker, int to_cp)
{
	return v->rings_at + qp_ring_at(v->nworkers, v->ring_bytes, epoch, worker, to_cp);
}

static uint64_t
read_word(const struct qp_shared_view *v, uint32_t worker, uint64_t at)
{
	const void *word = v->block + v->workers_at + (uint64_t)worker * v->worker_bytes + at;

	return qp_shared_read(word);
}

bool
qp_shared_has(const struct qp_shared_view *v, size_t offset)
{
	return v->at[offset / sizeof(uint64_t)] != 0;
}

uint64_t
qp_shared_count(const struct qp_shared_view *v, uint32_t worker, size_t offset)
{
	const uint32_t at = v->at[offset / sizeof(uint64_t)];

	return at != 0 && worker < v->nworkers ? read_word(v, worker, at - 1) : 0;
}

void
qp_shared_copy(const struct qp_shared_view *v, uint32_t worker, struct qp_worker_shared *out)
{
	uint64_t *to = (uint64_t *)(void *)out;

	for (size_t i = 0; i < QP_WORKER_WORDS; i++)
		to[i] = qp_shared_count(v, worker, i * sizeof(uint64_t));
}

uint64_t
qp_shared_word(const struct qp_shared_view *v, uint32_t worker, const struct qp_shared_name *name,
	uint32_t k)
{
	return worker < v->nworkers && k < name->n
		       ? read_word(v, worker, name->at + k * sizeof(uint64_t))
		       : 0;
}
