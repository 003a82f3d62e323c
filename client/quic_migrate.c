/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that outlives its path (RFC 9000, 9): a new UDP socket, by
 * which the kernel chooses address and interface anew, when the network has
 * changed or nothing is heard any more. The loop's thread.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/quic_impl.h"

#include <netinet/in.h>
#include <string.h>

#include "common/log.h"
#include "common/wire.h"

/*
 * After the network has changed, unanswered for so long is reason enough, and twice as long after
 * each move: the first retransmission on a path is due after a second, and the second one after three.
 */
#define SUSPECT_NS (3 * NGTCP2_SECONDS)
/* Moves in one silence. Each takes one of the ids that the peer gave, seven at most. */
#define MAX_MOVES 6
#define MAX_SILENCE_NS (15 * NGTCP2_SECONDS)
#define MIN_SILENCE_NS NGTCP2_SECONDS

static bool
unanswered(const struct qpc_quic *q, uint64_t ns, ngtcp2_tstamp now)
{
	ngtcp2_conn_info info;

	if (q->asked == 0 || now - q->asked < ns)
		return false;
	ngtcp2_conn_get_conn_info(q->conn, &info);
	return info.bytes_in_flight > 0;
}

static bool
same_host(const struct qp_sockaddr *a, const struct qp_sockaddr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0 &&
		a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}

/* The new socket takes the old one's place. What waits to be sent is for the old path: lost. */
static void
change_socket(struct qpc_quic *q, struct qpc_udp *fresh)
{
	qpc_loop_remove(q->loop, &q->source);
	qpc_udp_close(&q->udp);
	fresh->refused += q->udp.refused;
	q->udp = *fresh;
	q->run_next = q->nruns = 0;
	q->want_write = false;
	q->source.fd = q->udp.fd;
	if (qpc_loop_add(q->loop, &q->source, EPOLLIN) != QP_OK)
		qpc_quic_fail(q, QP_E_IO, QP_APP_INTERNAL, "epoll refused the UDP socket");
}

/* Consumes `fresh`. Returns an ngtcp2 code. */
static int
move_to(struct qpc_quic *q, struct qpc_udp *fresh, const char *why)
{
	ngtcp2_path path = {{&fresh->local.sa, fresh->local.len}, {&fresh->remote.sa, fresh->remote.len}};
	ngtcp2_tstamp now = qp_quic_now();
	int rv = ngtcp2_conn_initiate_immediate_migration(q->conn, &path, now);

	if (rv != 0) {
		qpc_udp_close(fresh);
		qp_log(QP_LOG_DEBUG, "the connection cannot move", QP_LOG_STR("why", qp_quic_err_text(rv)));
		return rv;
	}
	change_socket(q, fresh);
	q->migrations++;
	q->asked = now;
	qp_log(QP_LOG_INFO, "connection moves to another path", QP_LOG_STR("why", why),
		QP_LOG_ADDR("local", &q->udp.local.sa), QP_LOG_ADDR("server", &q->udp.remote.sa));
	qpc_quic_wake(q);
	return 0;
}

void
qpc_quic_network_changed(struct qpc_quic *q)
{
	struct qpc_udp fresh;

	/* No route, or no address yet: whatever comes is told, too. */
	if (q->over || qpc_udp_open(&fresh, &q->udp.remote, NULL) != QP_OK)
		return;
	if (same_host(&fresh.local, &q->udp.local)) {
		qpc_udp_close(&fresh);
		if (q->asked != 0 && q->silence_ns > SUSPECT_NS) {
			q->patience_ns = SUSPECT_NS;
			qpc_timer_arm(&q->loop->timers, &q->silence, q->asked + SUSPECT_NS);
		}
		return;
	}
	if (move_to(q, &fresh, "this host's address has changed") != 0)
		qpc_quic_fail(q, QP_E_CLOSED, QP_APP_NONE,
			"this host's address has changed, and the connection cannot follow");
}

uint64_t
qpc_quic_migrations(const struct qpc_quic *q)
{
	return q->migrations;
}

/* Six moves must fit into the time after which the connection is given up. */
void
qpc_quic_watch_silence(struct qpc_quic *q, uint32_t idle_timeout_s)
{
	uint64_t ns = idle_timeout_s * NGTCP2_SECONDS / MAX_MOVES;

	ns = ns == 0 || ns > MAX_SILENCE_NS ? MAX_SILENCE_NS : ns;
	q->silence_ns = q->patience_ns = ns < MIN_SILENCE_NS ? MIN_SILENCE_NS : ns;
}

static void
try_another_path(struct qpc_quic *q)
{
	struct qpc_udp fresh;

	if (q->moves >= MAX_MOVES)
		return;
	q->moves++;
	if (qpc_udp_open(&fresh, &q->udp.remote, NULL) == QP_OK)
		(void)move_to(q, &fresh, "nothing is heard from the server");
}

void
qpc_quic_on_silence(struct qpc_timer *timer)
{
	struct qpc_quic *q = QPC_CONTAINER(timer, struct qpc_quic, silence);
	ngtcp2_tstamp now = qp_quic_now(), due = now + q->patience_ns;

	if (q->over)
		return;
	if (unanswered(q, q->patience_ns, now)) {
		q->asked = now;
		q->patience_ns = 2 * q->patience_ns < q->silence_ns ? 2 * q->patience_ns : q->silence_ns;
		due = now + q->patience_ns;
		try_another_path(q);
	} else if (q->asked != 0 && now - q->asked < q->patience_ns) {
		due = q->asked + q->patience_ns;
	} else {
		q->asked = 0; /* acknowledgements alone, which nobody answers */
	}
	if (!q->over)
		qpc_timer_arm(&q->loop->timers, &q->silence, due);
}
