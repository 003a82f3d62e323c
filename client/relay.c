/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay's life: stream opened, events of the stream, ends. The session's
 * thread. Leaves the local connection to relay_connect.c, bytes to
 * relay_io.c, what the server is told of failures to the session.
 */
#include "client/relay_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define MAX_SPARE 1024u

static struct qpc_relay *
relay_of_stream(struct qpc_stream *s)
{
	return QPC_CONTAINER(s, struct qpc_relay, stream);
}

void
qpc_relay_queue(struct qpc_relay *r)
{
	if (!r->queued) {
		r->queued = true;
		TAILQ_INSERT_TAIL(&r->set->work, r, work_link);
	}
	if (r->stream_open)
		qpc_quic_wake(r->set->quic);
	else
		qpc_loop_queue(r->set->loop, &r->set->task);
}

/* Gives back the memory when neither side needs it any more. */
static void
free_if_done(struct qpc_relay *r)
{
	struct qpc_relays *set = r->set;

	if (r->stream_open || r->state != QPC_RELAY_CLOSED)
		return;
	assert(r->source.fd < 0 && r->in.len == 0);
	if (r->queued)
		TAILQ_REMOVE(&set->work, r, work_link);
	TAILQ_REMOVE(&set->all, r, all_link);
	set->counters.active--;
	if (set->nspare >= MAX_SPARE) {
		free(r);
	} else {
		r->all_link.tqe_next = set->spare;
		set->spare = r;
		set->nspare++;
	}
	if (set->quic != NULL && set->ops->gone != NULL)
		set->ops->gone(set->ctx);
}

static void
drop_in(struct qpc_relay *r)
{
	r->set->in_bytes -= r->in.len;
	if (r->set->quic != NULL)
		qpc_quic_consumed(r->set->quic, r->withheld);
	r->withheld = 0;
	qpc_bytes_clear(&r->in, r->set->pool);
}

void
qpc_relay_close_socket(struct qpc_relay *r, bool reset)
{
	struct linger linger = {.l_onoff = 1};

	if (r->source.fd < 0)
		return;
	if (reset)
		(void)setsockopt(r->source.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	qpc_loop_remove(r->set->loop, &r->source);
	close(r->source.fd);
	r->source.fd = -1;
}

/* The local side is over; the stream may go on by itself. */
static void
local_gone(struct qpc_relay *r, bool reset)
{
	qpc_timer_cancel(&r->set->loop->timers, &r->timer);
	qpc_relay_close_socket(r, reset);
	drop_in(r);
	r->state = QPC_RELAY_CLOSED;
}

void
qpc_relay_finish(struct qpc_relay *r)
{
	local_gone(r, false);
	free_if_done(r);
}

void
qpc_relay_abort(struct qpc_relay *r, uint64_t code)
{
	if (r->state == QPC_RELAY_CLOSED)
		return;
	r->set->counters.resets++;
	local_gone(r, true); /* cancels the timer, too */
	qpc_stream_reset(r->set->quic, &r->stream, code);
	qpc_stream_stop(r->set->quic, &r->stream, code);
	free_if_done(r);
}

void
qpc_relay_local_failed(struct qpc_relay *r)
{
	struct qpc_loop *loop = r->set->loop;

	if (!r->out_done && r->stream.out.len == 0) {
		qpc_relay_abort(r, QP_STREAM_RESET);
		return;
	}
	r->set->counters.resets++;
	local_gone(r, true);
	qpc_stream_stop(r->set->quic, &r->stream, QP_STREAM_RESET);
	if (r->out_done) {
		free_if_done(r);
		return;
	}
	r->state = QPC_RELAY_RESETTING;
	qpc_timer_arm(&loop->timers, &r->timer,
		loop->now_ns + QPC_RELAY_RESET_TIMEOUT_S * NS_PER_S);
}

void
qpc_relay_finish_reset(struct qpc_relay *r)
{
	qpc_timer_cancel(&r->set->loop->timers, &r->timer);
	r->state = QPC_RELAY_CLOSED;
	qpc_stream_reset(r->set->quic, &r->stream, QP_STREAM_RESET);
	free_if_done(r);
}

/* The stream. */

static int
on_data(struct qpc_stream *s, const uint8_t *data, size_t len, bool fin)
{
	struct qpc_relay *r = relay_of_stream(s);
	struct qpc_relays *set = r->set;
	int err;

	while (r->state == QPC_RELAY_ID && len > 0) {
		r->id_bytes[r->id_len++] = *data++;
		len--;
		qpc_quic_consumed(set->quic, 1);
		if (r->id_len == QP_WIRE_CONN_ID_BYTES) {
			qpc_stream_consumed(set->quic, s, QP_WIRE_CONN_ID_BYTES);
			r->id = qp_wire_get_conn_id(r->id_bytes);
			qpc_relay_connect(r);
		}
	}
	if (r->state == QPC_RELAY_CLOSED || r->state == QPC_RELAY_RESETTING) {
		qpc_quic_consumed(set->quic, len);
		return QP_OK;
	}
	if (r->state == QPC_RELAY_ID) {
		if (fin) /* it ended within the id: of no use to anybody */
			qpc_relay_abort(r, QP_STREAM_PROTOCOL);
		return QP_OK;
	}
	err = qpc_bytes_append(&r->in, set->pool, data, len);
	if (err != QP_OK)
		return err;
	set->in_bytes += len;
	if (set->in_bytes <= QPC_RELAY_MAX_BYTES)
		qpc_quic_consumed(set->quic, len);
	else
		r->withheld += len;
	r->in_fin = r->in_fin || fin;
	if (r->state == QPC_RELAY_OPEN)
		qpc_relay_queue(r);
	return QP_OK;
}

static void
on_acked(struct qpc_stream *s)
{
	struct qpc_relay *r = relay_of_stream(s);

	if (r->state == QPC_RELAY_RESETTING && s->out.len == 0)
		qpc_relay_finish_reset(r);
	else if (r->state == QPC_RELAY_OPEN && r->readable && !r->out_done)
		qpc_relay_queue(r);
}

static void
on_reset(struct qpc_stream *s, uint64_t code)
{
	qpc_relay_abort(relay_of_stream(s), QP_STREAM_RESET);
}

/* The peer won't take what the service says: for the service, its connection is reset. */
static void
on_stopped(struct qpc_stream *s)
{
	qpc_relay_abort(relay_of_stream(s), QP_STREAM_RESET);
}

static void
on_closed(struct qpc_stream *s, bool whole)
{
	struct qpc_relay *r = relay_of_stream(s);

	r->stream_open = false;
	/* What came whole is still written to the service, by itself. */
	if (r->state != QPC_RELAY_CLOSED && !(whole && r->in_fin)) {
		r->set->counters.resets++;
		local_gone(r, true);
	} else if (r->state == QPC_RELAY_OPEN) {
		qpc_relay_queue(r);
	}
	free_if_done(r);
}

static const struct qpc_stream_ops stream_ops = {
	.data = on_data,
	.acked = on_acked,
	.reset = on_reset,
	.stopped = on_stopped,
	.closed = on_closed,
};

/* The set. */

void
qpc_counters_add(struct qpc_relay_counters *sum, const struct qpc_relay_counters *c)
{
	sum->opened += c->opened;
	sum->refused += c->refused;
	sum->resets += c->resets;
	sum->bytes_to_local += c->bytes_to_local;
	sum->bytes_from_local += c->bytes_from_local;
}

static void
on_task(struct qpc_task *task)
{
	qpc_relays_work(QPC_CONTAINER(task, struct qpc_relays, task));
}

void
qpc_relays_init(struct qpc_relays *set, struct qpc_loop *loop, struct qpc_pool *pool,
	const struct qpc_relay_ops *ops, void *ctx, const struct qp_sockaddr *dest, size_t ndest)
{
	*set = (struct qpc_relays) {.loop = loop, .pool = pool, .ops = ops, .ctx = ctx,
		.dest = dest, .ndest = ndest, .task.run = on_task};
	TAILQ_INIT(&set->work);
	TAILQ_INIT(&set->all);
}

void
qpc_relays_trim(struct qpc_relays *set)
{
	struct qpc_relay *r;

	while ((r = set->spare) != NULL) {
		set->spare = r->all_link.tqe_next;
		free(r);
	}
	set->nspare = 0;
}

void
qpc_relays_fini(struct qpc_relays *set)
{
	struct qpc_relay *r, *next;

	for (r = TAILQ_FIRST(&set->all); r != NULL; r = next) {
		next = TAILQ_NEXT(r, all_link);
		assert(!r->stream_open);
		local_gone(r, true);
		free_if_done(r);
	}
	qpc_loop_unqueue(set->loop, &set->task);
	qpc_relays_trim(set);
}

static struct qpc_relay *
new_relay(struct qpc_relays *set)
{
	struct qpc_relay *r = set->spare;

	if (r != NULL) {
		set->spare = r->all_link.tqe_next;
		set->nspare--;
	} else {
		r = malloc(sizeof(*r));
		if (r == NULL)
			return NULL;
	}
	*r = (struct qpc_relay) {
		.stream.ops = &stream_ops,
		.source = {-1, qpc_relay_on_socket},
		.timer.fire = qpc_relay_on_timer,
		.set = set,
		.stream_open = true,
		.out_limit = QPC_RELAY_MIN_OUT,
	};
	TAILQ_INSERT_TAIL(&set->all, r, all_link);
	set->counters.opened++;
	set->counters.active++;
	return r;
}

struct qpc_stream *
qpc_relays_accept(struct qpc_relays *set)
{
	struct qpc_relay *r = new_relay(set);

	return r != NULL ? &r->stream : NULL;
}

/* Undoes new_relay for one that was never used. */
static void
discard(struct qpc_relay *r)
{
	r->set->counters.opened--;
	r->stream_open = false;
	r->state = QPC_RELAY_CLOSED;
	qpc_bytes_clear(&r->stream.out, r->set->pool);
	free_if_done(r);
}

int
qpc_relays_adopt(struct qpc_relays *set, int fd, uint32_t id)
{
	struct qpc_relay *r = new_relay(set);
	uint8_t prefix[QP_WIRE_CONN_ID_BYTES];
	int err;

	if (r == NULL)
		return QP_E_NOMEM;
	r->id = id;
	qp_wire_put_conn_id(prefix, id);
	err = qpc_bytes_append(&r->stream.out, set->pool, prefix, sizeof(prefix));
	if (err == QP_OK)
		err = qpc_quic_open_stream(set->quic, &r->stream);
	if (err != QP_OK) {
		discard(r);
		return err;
	}
	qpc_stream_ready(set->quic, &r->stream);
	/* The stream is there already: without a socket it ends as if the peer had been reset. */
	if (!qpc_relay_use_socket(r, fd))
		qpc_relay_abort(r, QP_STREAM_LIMIT);
	return QP_OK;
}
