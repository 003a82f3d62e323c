/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session carries: TCP relays or UDP flows, opened by the server or by
 * this side. The loop's thread. Bytes are relay_io.c's and flow.c's.
 */
#define QP_LOG_MODULE QP_LOG_M_client
#include "client/session_impl.h"

#include <string.h>
#include <unistd.h>

#include "common/heap.h"
#include "common/log.h"

#define NS_PER_MS UINT64_C(1000000)
/* One line a second about a destination that cannot be reached. */
#define REFUSED_LOG_MS 1000u

static void
on_refused(void *ctx, uint32_t id, enum qp_wire_reason reason, int errnum)
{
	struct qpc_session *s = ctx;
	int err = qpc_control_connection_closed(&s->control, id, reason);

	if (err != QP_OK)
		qpc_session_control_broken(s, err);
	s->refused_unlogged++;
	if (s->loop->now_ns < s->refused_log_ns)
		return;
	qp_log(QP_LOG_WARN, "cannot connect to the local destination",
		QP_LOG_SLICE("destination", s->cfg->request.remote_forward_request.destination),
		QP_LOG_ERRNO(errnum), QP_LOG_U64("times", s->refused_unlogged));
	s->refused_unlogged = 0;
	s->refused_log_ns = s->loop->now_ns + REFUSED_LOG_MS * NS_PER_MS;
}

static void
on_gone(void *ctx)
{
	struct qpc_session *s = ctx;

	if (s->ops->gone != NULL && !qpc_quic_is_over(s->quic))
		s->ops->gone(s->ctx);
}

static const struct qpc_relay_ops relay_ops = {
	.refused = on_refused,
	.gone = on_gone,
};

static uint32_t
announce(void *ctx)
{
	struct qpc_session *s = ctx;
	uint32_t id = ++s->next_id;
	int err = qpc_control_new_connection(&s->control, id, s->udp ? QP_WIRE_UDP : QP_WIRE_TCP);

	if (err != QP_OK)
		qpc_session_control_broken(s, err);
	return id;
}

static const struct qpc_flow_ops flow_ops = {
	.refused = on_refused,
	.announce = announce,
};

int
qpc_session_data_init(struct qpc_session *s)
{
	const struct qpc_session_config *cfg = s->cfg;
	bool local = cfg->request.type == QP_WIRE_LOCAL_FORWARD_REQUEST;

	s->local = local;
	s->udp = (local ? cfg->request.local_forward_request.protocol :
			  cfg->request.remote_forward_request.protocol) == QP_WIRE_UDP;
	qpc_relays_init(&s->relays, s->loop, &s->pool, &relay_ops, s, cfg->dest, cfg->ndest);
	return qpc_flows_init(&s->flows, s->loop, &s->pool, &flow_ops, s, cfg->dest, cfg->ndest,
		cfg->udp_idle_s);
}

void
qpc_session_data_use(struct qpc_session *s, struct qpc_quic *quic)
{
	s->relays.quic = quic;
	s->flows.quic = quic;
}

void
qpc_session_data_fini(struct qpc_session *s)
{
	qpc_session_data_use(s, NULL);
	qpc_relays_fini(&s->relays);
	qpc_flows_fini(&s->flows);
}

/* What is there goes on; an eighth of the budget is for it. */
static bool
heap_has_room(struct qpc_session *s)
{
	struct qpc_relay_counters *c = s->udp ? &s->flows.counters : &s->relays.counters;

	if (qp_heap_level() == QP_HEAP_ROOM)
		return true;
	/* What is kept for the next one is of no use when the next one is refused for it. */
	qpc_pool_trim(&s->pool);
	qpc_relays_trim(&s->relays);
	if (qp_heap_level() == QP_HEAP_ROOM)
		return true;
	c->refused++;
	qp_heap_log_refusal("connections", s->loop->now_ns);
	return false;
}

/* NULL: only this stream is refused, and the gateway resets its connection. */
struct qpc_stream *
qpc_session_stream_opened(void *ctx, int64_t id)
{
	struct qpc_session *s = ctx;

	/* A stream may overtake the response to the request, but not our authentication. */
	if (s->stage < QPC_SESSION_REQUESTING || s->local) {
		qpc_session_fail(s, QP_E_PROTO, QP_APP_PROTOCOL,
			s->local ? "the server opened a stream in a local forward" :
				   "the server opened a stream before authentication");
		return NULL;
	}
	if (s->stage == QPC_SESSION_CLOSING)
		return NULL;
	if (!heap_has_room(s))
		return NULL;
	return s->udp ? qpc_flows_accept(&s->flows) : qpc_relays_accept(&s->relays);
}

void
qpc_session_work(void *ctx)
{
	qpc_relays_work(&((struct qpc_session *)ctx)->relays);
}

void
qpc_session_room_came(void *ctx)
{
	struct qpc_session *s = ctx;

	if (s->stage == QPC_SESSION_OPEN && s->ops->room != NULL)
		s->ops->room(s->ctx);
}

/* Local forwards. */

bool
qpc_session_has_room(const struct qpc_session *s)
{
	return s->stage == QPC_SESSION_OPEN && !qpc_quic_is_over(s->quic) &&
		qpc_quic_streams_left(s->quic) > 0;
}

void
qpc_session_adopt(struct qpc_session *s, int fd)
{
	uint32_t id = s->next_id + 1;

	if (!qpc_session_has_room(s) || !heap_has_room(s) || qpc_relays_adopt(&s->relays, fd, id) != QP_OK) {
		close(fd);
		return;
	}
	(void)announce(s);
}

void
qpc_session_datagram(struct qpc_session *s, int fd, const struct qp_sockaddr *from,
	const uint8_t *data, size_t len)
{
	if (s->stage != QPC_SESSION_OPEN || qpc_quic_is_over(s->quic))
		return;
	s->flows.listen_fd = fd;
	qpc_flows_datagram(&s->flows, from, data, len);
}

struct qpc_relay_counters
qpc_session_counters(const struct qpc_session *s)
{
	return s->udp ? s->flows.counters : s->relays.counters;
}
