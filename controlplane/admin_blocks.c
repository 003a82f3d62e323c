/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: blocked sources. Loop thread. */
#include <string.h>

#include "controlplane/admin_calls.h"

json_t *
qp_admin_block_row(const struct qp_block *b)
{
	char network[QP_NETWORK_BYTES], since[QP_TIME_BYTES], expires[QP_TIME_BYTES];
	json_t *row = json_pack("{s:s, s:s}", "source", qp_network_format(&b->network, network),
		"since", qp_time_format(b->since, since));

	if (row != NULL && b->expires_at != 0)
		json_object_set_new(
			row, "expires", json_string(qp_time_format(b->expires_at, expires)));
	if (row != NULL && b->reason[0] != '\0')
		json_object_set_new(row, "reason", json_string(b->reason));
	return row;
}

bool
qp_admin_can_block(struct qp_admin_call *c)
{
	if (c->admin->blocks == NULL)
		qp_problem(c->out, 501, "this gateway cannot keep sources out");
	return c->admin->blocks != NULL;
}

static void
tell(const struct qp_admin_call *c, const char *action, const struct qp_msg_network *n)
{
	char network[QP_NETWORK_BYTES];

	qp_events_emit(c->admin->events, QP_EVENT_POLICY,
		json_pack("{s:s, s:s}", "action", action, "source", qp_network_format(n, network)));
}

bool
qp_admin_block(struct qp_admin_call *c, const struct qp_msg_network *n, uint64_t seconds,
	const char *reason, json_t **row)
{
	const struct qp_block *block;
	struct qp_errmsg msg;
	int err = qp_blocks_add(c->admin->blocks, n, seconds, reason, &block, &msg);

	if (err != 0) {
		qp_problem(c->out, err == QP_E_FULL ? 409 : 503, "%s", msg.text);
		return false;
	}
	*row = qp_admin_block_row(block);
	qp_admin_audit(c, "BlockSource", json_incref(*row));
	tell(c, "block_source", n);
	return true;
}

void
qp_admin_block_source(struct qp_admin_call *c)
{
	struct qp_msg_network n;
	uint64_t seconds = qp_args_number(c->args, "seconds", 1, 31536000, 0);
	const char *reason = qp_args_text(c->args, "reason", 0, 200);
	json_t *row;

	/* Everybody is more likely a slip of the hand than a wish. */
	if (qp_args_network(c->args, "source", true, &n) && (n.prefix == 0 || n.prefix == 96))
		qp_args_fail(c->args, "source", "a part of the Internet: /1 or longer");
	if (qp_args_ok(c->args) && qp_admin_can_block(c) &&
		qp_admin_block(c, &n, seconds, reason, &row))
		qp_admin_reply(
			c->out, json_pack("{s:s, s:o}", "status", "blocked", "blocked", row));
}

void
qp_admin_unblock_source(struct qp_admin_call *c)
{
	char text[QP_NETWORK_BYTES];
	struct qp_msg_network n;

	qp_args_network(c->args, "source", true, &n);
	if (!qp_args_ok(c->args) || !qp_admin_can_block(c))
		return;
	qp_network_format(&n, text);
	if (qp_blocks_remove(c->admin->blocks, &n) != 0) {
		qp_problem(c->out, 404, "%s is not blocked: ListBlockedSources says what is", text);
		return;
	}
	qp_admin_audit(c, "UnblockSource", json_pack("{s:s}", "source", text));
	tell(c, "unblock_source", &n);
	qp_admin_reply(c->out, json_pack("{s:s}", "status", "unblocked"));
}

void
qp_admin_list_blocked_sources(struct qp_admin_call *c)
{
	const struct qp_blocks *blocks = c->admin->blocks;
	char last[QP_NETWORK_BYTES];
	struct qp_msg_network n;
	struct qp_page page;
	unsigned at = 0, end;
	json_t *rows;

	qp_args_page(c->args, &page);
	if (page.cursor != NULL && qp_network_parse(page.cursor, &n, NULL) != 0)
		qp_args_bad_cursor(c->args);
	if (!qp_args_ok(c->args) || !qp_admin_can_block(c))
		return;
	if (page.cursor != NULL)
		at = qp_blocks_after(blocks, &n);
	end = qp_blocks_count(blocks) - at > page.limit ? at + page.limit : qp_blocks_count(blocks);
	rows = json_array();
	for (; at < end; at++)
		json_array_append_new(rows, qp_admin_block_row(qp_blocks_at(blocks, at)));
	qp_admin_reply_rows(c->out, "blocked_sources", rows,
		end < qp_blocks_count(blocks)
			? qp_network_format(&qp_blocks_at(blocks, end - 1)->network, last)
			: NULL);
}
