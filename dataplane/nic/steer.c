/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steering. For each frame that a worker received: its owner, or why it has none. The
 * worker's lcore; pure but for the tables of new clients and of datagrams in pieces.
 */
#include "dataplane/nic/steer.h"

#include <netinet/in.h>
#include <string.h>

#include "common/nic_block.h"
#include "dataplane/nic/handoff.h"
#include "dataplane/nic/mix.h"

#define UDP_BYTES       8u
#define QUIC_LONG       0x80
#define QUIC_TYPE       0x30 /* of a long header; the same bits in QUIC 1 for Initial: 0 */
#define QUIC_DCID_BYTES 8u   /* ours; dataplane/quic/cid.h */
#define QUIC_LONG_BYTES 6u   /* first byte, version, length of the id */
#define NOBODY          QP_NIC_MAX_GENS

int
qp_steer_init(struct qp_steer *s, const struct qp_nic *nic, uint32_t server_id, uint32_t worker,
	uint32_t nworkers, uint32_t seed)
{
	int rc;

	*s = (struct qp_steer) {.nic = nic, .server_id = server_id, .worker = worker,
		.nworkers = nworkers, .holder = NOBODY, .own = NOBODY};
	rc = qp_placement_init(&s->placement, seed);
	if (rc == 0)
		rc = qp_pieces_init(&s->pieces, seed);
	if (rc != 0)
		qp_steer_fini(s);
	return rc;
}

void
qp_steer_fini(struct qp_steer *s)
{
	qp_placement_fini(&s->placement);
	qp_pieces_fini(&s->pieces);
}

static uint32_t
find_gen(const struct qp_steer *s, uint32_t server_id)
{
	for (uint32_t i = 0; i < QP_NIC_MAX_GENS; i++)
		if (s->gen[i].server_id == server_id && server_id != 0)
			return i;
	return NOBODY;
}

void
qp_steer_turn(struct qp_steer *s)
{
	for (uint32_t i = 0; i < QP_NIC_MAX_GENS; i++) {
		const struct qp_nic_gen *g = &s->nic->gen[i];
		/* Pairs with the control plane's release: the rest of the entry is as old or newer. */
		const uint32_t id = __atomic_load_n(&g->server_id, __ATOMIC_ACQUIRE);

		s->gen[i].server_id = id;
		s->gen[i].nworkers = __atomic_load_n(&g->nworkers, __ATOMIC_RELAXED);
		s->gen[i].handoff = __atomic_load_n(&g->handoff, __ATOMIC_RELAXED);
		/* Another release's rings: what is for it is dropped and counted. */
		if (__atomic_load_n(&g->handoff_bytes, __ATOMIC_RELAXED) != sizeof(struct qp_handoff_ring))
			s->gen[i].handoff = 0;
		/* Changed meanwhile: another generation's numbers perhaps. */
		if (__atomic_load_n(&g->server_id, __ATOMIC_ACQUIRE) != id ||
			s->gen[i].nworkers == 0 || s->gen[i].nworkers > QP_MAX_WORKERS)
			s->gen[i].server_id = 0;
	}
	s->holder = find_gen(s, __atomic_load_n(&s->nic->holder, __ATOMIC_ACQUIRE));
	s->own = find_gen(s, s->server_id);
}

static struct qp_steer_to
to_worker(const struct qp_steer *s, uint32_t server_id, uint32_t worker, enum qp_steer_why why)
{
	const uint32_t gen = find_gen(s, server_id);

	if (gen == NOBODY || worker >= s->gen[gen].nworkers)
		return (struct qp_steer_to) {.why = QP_STEER_NO_WORKER};
	return (struct qp_steer_to) {.gen = gen, .worker = worker, .why = why};
}

/* To the holder's worker that the other end's address and port lead to. */
static struct qp_steer_to
to_holder(const struct qp_steer *s, const struct qp_steer_flow *f, enum qp_steer_why why)
{
	if (s->holder == NOBODY)
		return (struct qp_steer_to) {.why = QP_STEER_NO_WORKER};
	return (struct qp_steer_to) {.gen = s->holder,
		.worker = qp_mix_remote(0, f) % s->gen[s->holder].nworkers,
		.why = why};
}

/*
 * The connection id (RFC 8999, 5.1 and 5.2: where it stands does not depend on the
 * version). `*opens`: a long header whose type may be Initial.
 */
static const uint8_t *
quic_dcid(const uint8_t *frame, uint32_t len, const struct qp_steer_flow *f, bool *opens)
{
	const uint32_t off = f->l4_off + UDP_BYTES;
	const uint8_t *p = frame + off;

	*opens = false;
	if (off + 1 + QUIC_DCID_BYTES > len)
		return NULL;
	if ((p[0] & QUIC_LONG) == 0)
		return p + 1;
	*opens = (p[0] & QUIC_TYPE) == 0;
	if (p[QUIC_LONG_BYTES - 1] != QUIC_DCID_BYTES || off + QUIC_LONG_BYTES + QUIC_DCID_BYTES > len)
		return NULL;
	return p + QUIC_LONG_BYTES;
}

static struct qp_steer_to
steer_quic(struct qp_steer *s, const uint8_t *frame, uint32_t len, const struct qp_steer_flow *f,
	uint64_t now_ns)
{
	struct qp_placement_gen gen;
	const uint8_t *dcid;
	struct qp_steer_to to;
	uint32_t server_be;
	bool opens;

	if (f->quoted)
		return to_holder(s, f, QP_STEER_QUIC_NEW);
	dcid = quic_dcid(frame, len, f, &opens);
	if (dcid != NULL) {
		memcpy(&server_be, dcid, sizeof(server_be));
		to = to_worker(s, ntohl(server_be), dcid[sizeof(server_be)], QP_STEER_QUIC_KNOWN);
		if (!qp_steer_is_drop(to.why))
			return to;
	}
	to = to_holder(s, f, QP_STEER_QUIC_NEW);
	if (qp_steer_is_drop(to.why))
		return to;
	gen = (struct qp_placement_gen) {.server_id = s->gen[to.gen].server_id,
		.nworkers = s->gen[to.gen].nworkers,
		.handoff = s->gen[to.gen].handoff,
		.home = to.gen == s->own ? s->worker : UINT32_MAX};
	to.worker = qp_placement_worker(&s->placement, qp_mix_remote(0, f), opens, &gen, now_ns);
	return to;
}

static bool
is_bound(const struct qp_steer *s, const struct qp_ipaddr *local)
{
	struct qp_ipaddr bound;

	memcpy(&bound, &s->nic->quic_addr, sizeof(bound));
	return (bound.q[0] | bound.q[1]) == 0 || qp_ipaddr_equal(&bound, local);
}

/*
 * Whether `local` is the only address that the port answers on; 0: every address is. An
 * index that is being written misleads nobody: TCP and UDP look again.
 */
static bool
answers_on(const struct qp_steer *s, uint32_t index, const struct qp_ipaddr *local)
{
	return index == 0 || index > QP_NIC_MAX_ADDRS ||
	       memcmp(&s->nic->net.addr[index - 1].addr, local, sizeof(*local)) == 0;
}

static struct qp_steer_to
refuse(const struct qp_steer *s)
{
	if (s->own == NOBODY)
		return (struct qp_steer_to) {.why = QP_STEER_NO_WORKER};
	return (struct qp_steer_to) {.gen = s->own, .worker = s->worker, .why = QP_STEER_STRAY};
}

/* A packet with ports, or one that an ICMP error quotes. */
static struct qp_steer_to
steer_flow(struct qp_steer *s, const uint8_t *frame, uint32_t len, const struct qp_steer_flow *f,
	uint64_t now_ns)
{
	const uint16_t port = ntohs(f->lport_be);
	uint32_t owner;

	if (f->proto == IPPROTO_UDP && port == s->nic->quic_port)
		return is_bound(s, &f->local) ? steer_quic(s, frame, len, f, now_ns)
					      : (struct qp_steer_to) {.why = QP_STEER_NOT_BOUND};
	if (f->proto == IPPROTO_TCP && port == s->nic->public_port && port != 0)
		return is_bound(s, &f->local) ? to_holder(s, f, QP_STEER_PUBLIC_API)
					      : (struct qp_steer_to) {.why = QP_STEER_NOT_BOUND};
	if (f->proto != IPPROTO_UDP && f->proto != IPPROTO_TCP)
		return refuse(s);
	owner = __atomic_load_n(
		&s->nic->owner[f->proto == IPPROTO_UDP ? QP_NIC_UDP : QP_NIC_TCP][port],
		__ATOMIC_RELAXED);
	if (owner == 0 || !answers_on(s, QP_NIC_OWNER_ADDR(owner), &f->local))
		return refuse(s);
	return to_worker(s, QP_NIC_OWNER_SERVER(owner), QP_NIC_OWNER_WORKER(owner), QP_STEER_PORT);
}

/*
 * The port's hash may spread the pieces of a datagram over the queues, so one worker
 * collects what they say. Only a forwarded UDP port's datagrams are put together.
 */
static struct qp_steer_to
steer_piece(struct qp_steer *s, const uint8_t *frame, uint32_t len, bool collected,
	const struct qp_steer_flow *f, uint64_t now_ns)
{
	const uint32_t collects = qp_pieces_hash(f) % s->nworkers;
	const struct qp_piece *piece;
	struct qp_steer_to to;

	if (!collected && collects != s->worker && s->own != NOBODY)
		return (struct qp_steer_to) {.gen = s->own, .worker = collects, .why = QP_STEER_COLLECT};
	if (f->first) {
		to = steer_flow(s, frame, len, f, now_ns);
		if (to.why == QP_STEER_PORT && f->proto == IPPROTO_UDP)
			qp_pieces_remember(&s->pieces, f, s->gen[to.gen].server_id, to.worker, now_ns);
		return to;
	}
	piece = f->proto == IPPROTO_UDP ? qp_pieces_find(&s->pieces, f, now_ns) : NULL;
	if (piece == NULL)
		return (struct qp_steer_to) {.why = QP_STEER_LOST_PIECE};
	return to_worker(s, piece->server_id, piece->worker, QP_STEER_PIECE);
}

struct qp_steer_to
qp_steer_frame(struct qp_steer *s, const uint8_t *frame, uint32_t len, bool collected,
	uint64_t now_ns, struct qp_steer_flow *f)
{
	struct in6_addr sender;

	if (!qp_steer_parse(frame, len, f))
		return (struct qp_steer_to) {.why = QP_STEER_NOT_IP};
	memcpy(&sender, &f->sender, sizeof(sender));
	if (qp_nic_blocked(&s->nic->blocked, &sender))
		return (struct qp_steer_to) {.why = QP_STEER_BLOCKED};
	if (f->fragment && !f->quoted)
		return steer_piece(s, frame, len, collected, f, now_ns);
	return steer_flow(s, frame, len, f, now_ns);
}
