/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drain timeout is over: tunnels are sent to the successor in an order that
 * harms least. Those without connections go first, then those whose connections
 * have carried nothing for a while, and the others when the grace is over. Runs
 * on the lcore that owns the tunnels.
 *
 * quicport/1 knows no way to ask a client to move. It gets SESSION_CLOSE and
 * CONNECTION_CLOSE, comes back at once, and asks for its port again.
 */
#include "dataplane/retire.h"

#include "dataplane/tunnel_internal.h"

#define STEP_NS (50ull * 1000 * 1000)
/* Of a step: each one's handshake costs the successor a millisecond or so. */
#define STEP_TUNNELS 24u

enum ripeness {
	UNRIPE,   /* it carries something, and there is time */
	FORCED,   /* it does, and the grace is over */
	IDLE,     /* its connections are silent */
	UNUSED,   /* it has none */
};

static uint64_t
carried(const struct qp_tunnel *t)
{
	return t->usage.in_bytes + t->usage.out_bytes + t->usage.conns_total;
}

/* Each step looks at each tunnel once: what it has carried since tells how long it is silent. */
static enum ripeness
judge(struct qp_tunnels *ts, struct qp_tunnel *t)
{
	const uint64_t now_ns = *ts->env.now_ns, sum = carried(t);

	if (t->state >= QP_TUNNEL_LAST)
		return UNRIPE;
	if (sum != t->retire_carried || t->retire_quiet_ns == 0) {
		t->retire_carried = sum;
		t->retire_quiet_ns = now_ns;
	}
	if (t->usage.conns_now == 0 && t->state == QP_TUNNEL_OPEN)
		return UNUSED;
	if (t->usage.conns_now > 0 && now_ns - t->retire_quiet_ns >= ts->retire_idle_ns)
		return IDLE;
	return now_ns >= ts->retire_all_ns ? FORCED : UNRIPE;
}

/* Those of one kind, as many as a step has left. */
static unsigned
send_away(struct qp_tunnels *ts, enum ripeness kind, unsigned most)
{
	struct qp_tunnel *t;
	unsigned n = 0;

	LIST_FOREACH(t, &ts->list, link) {
		if (n == most)
			break;
		if (judge(ts, t) != kind)
			continue;
		qp_tunnel_goodbye(t);
		n++;
	}
	return n;
}

static void
on_step(struct qp_timer *timer, uint64_t now_ns)
{
	struct qp_tunnels *ts =
		(struct qp_tunnels *)((char *)timer - offsetof(struct qp_tunnels, retire));
	unsigned left = STEP_TUNNELS;

	left -= send_away(ts, UNUSED, left);
	left -= send_away(ts, IDLE, left);
	(void)send_away(ts, FORCED, left);
	qp_timer_arm(ts->env.wheel, timer, now_ns + STEP_NS);
}

void
qp_retire_begin(struct qp_tunnels *ts, const struct qp_msg_retire *m)
{
	const uint64_t now_ns = *ts->env.now_ns;
	const uint64_t all_ns = now_ns + m->grace_ms * UINT64_C(1000000);

	ts->retire_idle_ns = m->idle_ms * UINT64_C(1000000);
	ts->retire_all_ns = all_ns;
	if (qp_timer_armed(&ts->retire))
		return; /* another control plane, or another grace */
	ts->retire.fn = on_step;
	qp_timer_arm(ts->env.wheel, &ts->retire, now_ns);
}

void
qp_retire_end(struct qp_tunnels *ts)
{
	qp_timer_cancel(ts->env.wheel, &ts->retire);
}
