/* SPDX-License-Identifier: Apache-2.0 */
/* What goes in and out of a prompt's connection. Main thread; nothing in here waits. */
#include "dataplane/prompt_conn.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define OUTPUT_MOST (4u << 20)  /* who reads so much more slowly than he asks is sent away */
#define TURN_NS (20ull * 1000 * 1000) /* commands of one session, until the main thread looks at the rest */

static bool
make_room(struct qp_prompt_conn *c, uint32_t len)
{
	uint32_t cap = c->out_cap > 0 ? c->out_cap : 16384;
	char *more;

	/* What went out makes room, too: somebody may be always a little behind. */
	if (c->out_from > 0) {
		c->out_len -= c->out_from;
		memmove(c->out, c->out + c->out_from, c->out_len);
		c->out_from = 0;
	}
	while (cap - c->out_len < len)
		cap *= 2;
	if (cap == c->out_cap)
		return true;
	more = realloc(c->out, cap);
	if (more == NULL)
		return false;
	c->out = more;
	c->out_cap = cap;
	return true;
}

void
qp_prompt_conn_say(void *ctx, const char *bytes, uint32_t len)
{
	struct qp_prompt_conn *c = ctx;

	if (c->lost)
		return;
	if (qp_prompt_conn_waiting(c) + len > OUTPUT_MOST ||
		(c->out_cap - c->out_len < len && !make_room(c, len))) {
		c->lost = true;
		return;
	}
	memcpy(c->out + c->out_len, bytes, len);
	c->out_len += len;
}

void
qp_prompt_conn_flush(struct qp_prompt_conn *c)
{
	int err = QP_OK;
	uint32_t n;

	while ((n = qp_prompt_conn_waiting(c)) > 0 && err == QP_OK) {
		if (n > QP_PROMPT_PACKET - 1)
			n = QP_PROMPT_PACKET - 1;
		err = qp_prompt_send(c->fd, QP_PROMPT_OUTPUT, c->out + c->out_from, n);
		if (err == QP_OK)
			c->out_from += n;
	}
	c->lost |= err == QP_E_CLOSED;
	if (qp_prompt_conn_waiting(c) == 0)
		c->out_from = c->out_len = 0;
	if (qp_prompt_conn_waiting(c) == 0 && c->ending && !c->done && !c->lost)
		c->done = qp_prompt_send(c->fd, QP_PROMPT_QUIT, &c->by_quit, 1) != QP_E_AGAIN;
}

/* Only when what came before is done: see finish(). */
void
qp_prompt_conn_receive(struct qp_prompt_conn *c)
{
	enum qp_prompt_packet kind;
	uint32_t len;
	const int err = qp_prompt_receive(c->fd, &kind, c->in, &len);

	if (err != QP_OK) {
		c->lost = err == QP_E_CLOSED;
		return;
	}
	if (c->ending || c->done)
		return;
	c->in_from = 0;
	c->in_len = kind == QP_PROMPT_INPUT ? len : 0;
	c->eof |= kind == QP_PROMPT_EOF;
}

/* Line by line: a command is done at once, but not all that somebody may have sent. */
void
qp_prompt_conn_work(struct qp_prompt_conn *c)
{
	const uint64_t end = qp_now_ns() + TURN_NS;

	while (qp_prompt_conn_typed(c) > 0 && !c->ending &&
		qp_prompt_conn_waiting(c) < QP_PROMPT_OUTPUT_ENOUGH && qp_now_ns() < end) {
		const char *from = c->in + c->in_from, *nl = memchr(from, '\n', qp_prompt_conn_typed(c));
		const uint32_t n = nl != NULL ? (uint32_t)(nl - from) + 1 : qp_prompt_conn_typed(c);

		c->in_from += n;
		c->ending = !qp_prompt_feed(c->session, from, n);
		c->by_quit = c->ending;
	}
	if (c->ending)
		c->in_from = c->in_len;
	/* A last line without its end counts, too. */
	if (c->eof && qp_prompt_conn_typed(c) == 0 && !c->ending) {
		c->by_quit = !qp_prompt_feed(c->session, "\n", c->quiet ? 1 : 0);
		c->ending = true;
	}
}

void
qp_prompt_conn_show_period(struct qp_prompt_conn *c)
{
	if (c->session == NULL || c->ending || c->period_s == 0 || qp_now_ns() < c->next_ns)
		return;
	c->next_ns = qp_now_ns() + c->period_s * 1000000000ull;
	if (qp_prompt_conn_waiting(c) < QP_PROMPT_OUTPUT_ENOUGH)
		qp_prompt_show_period(c->session);
}
