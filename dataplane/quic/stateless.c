/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that need no connection: Version Negotiation, Retry, stateless reset,
 * refusal (RFC 9000, 6, 8.1.2, 10.3; RFC 9001, 5.8). Runs on the owning lcore.
 */
#include "dataplane/quic/internal.h"

#include <rte_mbuf.h>
#include <sodium.h>

#define RETRY_VALID_NS (10 * NGTCP2_SECONDS)

/*
 * What strangers may cost: answers a second. An answer is a frame of its own
 * (and a Retry a token's encryption), ten times a packet of a connection; so a
 * flood of junk must not buy them without bound. A client whose Initial goes
 * unanswered sends it again.
 */
static const uint32_t answers_a_second[QP_QUIC_ANSWERS] = {
	[QP_QUIC_VERSIONS] = 1000,
	[QP_QUIC_RETRY] = 5000,
	[QP_QUIC_RESET] = 1000,
	[QP_QUIC_REFUSAL] = 1000,
};

/* An mbuf for an answer; NULL when this second's are used up, or there is none. */
static struct rte_mbuf *
answer_mbuf(struct qp_quic *q, enum qp_quic_answer kind)
{
	uint64_t second = *q->env.now_ns / NGTCP2_SECONDS;

	if (second != q->answers_second) {
		q->answers_second = second;
		memcpy(q->answers_left, answers_a_second, sizeof(q->answers_left));
	}
	if (q->answers_left[kind] == 0) {
		q->env.counters->drop_quic_limit++;
		return NULL;
	}
	q->answers_left[kind]--;
	return qp_quic_mbuf(q);
}

void
qp_quic_path(ngtcp2_path_storage *ps, const struct qp_flow *flow)
{
	struct sockaddr_storage *local = (struct sockaddr_storage *)&ps->local_addrbuf;
	struct sockaddr_storage *remote = (struct sockaddr_storage *)&ps->remote_addrbuf;
	struct sockaddr_storage ss;
	socklen_t len;

	ngtcp2_path_storage_zero(ps);
	qp_ipaddr_to_sockaddr(&flow->local, flow->lport_be, &ss, &len);
	memcpy(local, &ss, len);
	ps->path.local.addrlen = len;
	qp_ipaddr_to_sockaddr(&flow->remote, flow->rport_be, &ss, &len);
	memcpy(remote, &ss, len);
	ps->path.remote.addrlen = len;
}

/* Sends what `written` says was made in `m`, or gives the mbuf back. */
static void
send_made(struct qp_quic *q, struct rte_mbuf *m, ngtcp2_ssize written, const struct qp_flow *flow,
	uint64_t *counter)
{
	if (written <= 0) {
		rte_pktmbuf_free(m);
		return;
	}
	m->data_len = (uint16_t)written;
	m->pkt_len = (uint32_t)written;
	qp_quic_send_single(q, m, flow, 0);
	if (counter != NULL)
		(*counter)++;
}

void
qp_quic_send_version_negotiation(struct qp_quic *q, const ngtcp2_version_cid *vc,
	const struct qp_flow *flow)
{
	static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, 0x1a2a3a4au};
	struct rte_mbuf *m = answer_mbuf(q, QP_QUIC_VERSIONS);
	uint8_t unused;

	if (m == NULL)
		return;
	randombytes_buf(&unused, sizeof(unused));
	send_made(q, m,
		ngtcp2_pkt_write_version_negotiation(rte_pktmbuf_mtod(m, uint8_t *),
			rte_pktmbuf_tailroom(m), unused, vc->scid, vc->scidlen, vc->dcid,
			vc->dcidlen, versions, RTE_DIM(versions)),
		flow, &q->env.counters->quic_version_negotiations);
}

void
qp_quic_send_retry(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow)
{
	uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
	ngtcp2_path_storage ps;
	ngtcp2_ssize token_len;
	ngtcp2_cid scid;
	struct rte_mbuf *m = answer_mbuf(q, QP_QUIC_RETRY);

	if (m == NULL)
		return;
	qp_quic_path(&ps, flow);
	qp_cid_make(&scid, q->cfg.server_id, q->cfg.lcore);
	token_len = ngtcp2_crypto_generate_retry_token2(token, q->cfg.reset_key,
		sizeof(q->cfg.reset_key), hd->version, ps.path.remote.addr, ps.path.remote.addrlen,
		&scid, &hd->dcid, *q->env.now_ns);
	if (token_len < 0) {
		rte_pktmbuf_free(m);
		return;
	}
	send_made(q, m,
		ngtcp2_crypto_write_retry(rte_pktmbuf_mtod(m, uint8_t *), rte_pktmbuf_tailroom(m),
			hd->version, &hd->scid, &scid, &hd->dcid, token, (size_t)token_len),
		flow, &q->env.counters->quic_retries_sent);
}

int
qp_quic_verify_retry(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow,
	ngtcp2_cid *odcid)
{
	ngtcp2_path_storage ps;

	qp_quic_path(&ps, flow);
	return ngtcp2_crypto_verify_retry_token2(odcid, hd->token, hd->tokenlen, q->cfg.reset_key,
		sizeof(q->cfg.reset_key), hd->version, ps.path.remote.addr, ps.path.remote.addrlen,
		&hd->dcid, RETRY_VALID_NS, *q->env.now_ns);
}

/*
 * RFC 9000, 10.3: shorter than what it answers, so that two endpoints cannot
 * keep each other at it; not below 21 bytes, and looks like a short packet.
 */
void
qp_quic_send_stateless_reset(struct qp_quic *q, const ngtcp2_version_cid *vc, size_t in_len,
	const struct qp_flow *flow)
{
	uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN];
	uint8_t noise[NGTCP2_MIN_STATELESS_RESET_RANDLEN * 5];
	size_t noise_len;
	ngtcp2_cid cid;
	struct rte_mbuf *m;

	if (in_len <= NGTCP2_STATELESS_RESET_TOKENLEN + NGTCP2_MIN_STATELESS_RESET_RANDLEN)
		return;
	m = answer_mbuf(q, QP_QUIC_RESET);
	if (m == NULL)
		return;
	noise_len = RTE_MIN(sizeof(noise), in_len - 1 - sizeof(token));
	ngtcp2_cid_init(&cid, vc->dcid, vc->dcidlen);
	if (ngtcp2_crypto_generate_stateless_reset_token(token, q->cfg.reset_key,
			sizeof(q->cfg.reset_key), &cid) != 0) {
		rte_pktmbuf_free(m);
		return;
	}
	randombytes_buf(noise, noise_len);
	send_made(q, m,
		ngtcp2_pkt_write_stateless_reset(rte_pktmbuf_mtod(m, uint8_t *),
			rte_pktmbuf_tailroom(m), token, noise, noise_len),
		flow, &q->env.counters->quic_stateless_resets);
}

/* As the control plane sends it in host mode: no limit but its own pace. */
void
qp_quic_send_farewell(struct qp_quic *q, const uint8_t token[16], const struct qp_flow *flow)
{
	uint8_t noise[NGTCP2_MIN_STATELESS_RESET_RANDLEN * 5];
	struct rte_mbuf *m = qp_quic_mbuf(q);

	if (m == NULL)
		return;
	randombytes_buf(noise, sizeof(noise));
	send_made(q, m,
		ngtcp2_pkt_write_stateless_reset(rte_pktmbuf_mtod(m, uint8_t *),
			rte_pktmbuf_tailroom(m), token, noise, sizeof(noise)),
		flow, &q->env.counters->quic_stateless_resets);
}

void
qp_quic_send_refusal(struct qp_quic *q, const ngtcp2_pkt_hd *hd, const struct qp_flow *flow,
	uint64_t code)
{
	struct rte_mbuf *m = answer_mbuf(q, QP_QUIC_REFUSAL);

	if (m == NULL)
		return;
	send_made(q, m,
		ngtcp2_crypto_write_connection_close(rte_pktmbuf_mtod(m, uint8_t *),
			rte_pktmbuf_tailroom(m), hd->version, &hd->scid, &hd->dcid, code, NULL, 0),
		flow, NULL);
}
