/* SPDX-License-Identifier: Apache-2.0 */
/* Which version two processes speak, and what they say when there is none. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "common/ipc_version.h"

struct pair {
	struct qp_ipc_range a, b;
	uint32_t common;
};

ParameterizedTestParameters(ipc_version, pair_speaks_the_lower_of_both_newest_ones)
{
	static struct pair pairs[] = {
		{{3, 4}, {3, 4}, 4},
		{{3, 4}, {4, 5}, 4},
		{{4, 5}, {3, 4}, 4},
		{{3, 3}, {3, 4}, 3},
		{{3, 4}, {5, 6}, 0},
		{{5, 6}, {3, 4}, 0},
		{{3, 3}, {4, 5}, 0},
		{{0, 0}, {3, 4}, 0},
	};

	return cr_make_param_array(struct pair, pairs, sizeof(pairs) / sizeof(pairs[0]));
}

ParameterizedTest(struct pair *p, ipc_version, pair_speaks_the_lower_of_both_newest_ones)
{
	cr_expect_eq(qp_ipc_common(p->a, p->b), p->common);
	cr_expect_eq(qp_ipc_common(p->b, p->a), p->common);
}

static struct qp_attach
request(uint32_t oldest, uint32_t newest, uint32_t server_id)
{
	return (struct qp_attach) {.magic = QP_ATTACH_MAGIC, .version = oldest, .newest = newest,
		.pid = 7, .nworkers = 2, .server_id = server_id};
}

static uint32_t version;
static struct qp_attach got;
static struct qp_errmsg msg;

static int
read_request(const struct qp_attach *req, size_t len)
{
	return qp_attach_read(req, len, req->nworkers + (req->server_id != 0), &got, &version, &msg);
}

Test(ipc_version, request_of_this_release_is_spoken_as_it_is)
{
	struct qp_attach req = request(QP_IPC_OLDEST, QP_IPC_VERSION, 0);

	cr_assert_eq(read_request(&req, sizeof(req)), 0, "%s", msg.text);
	cr_expect_eq(version, QP_IPC_VERSION);
	cr_expect_eq(got.nworkers, 2u);
}

Test(ipc_version, request_without_range_is_of_one_version)
{
	struct qp_attach req = request(QP_IPC_OLDEST, 0xffffffff, 0);

	/* What the older release does not send is not looked at, whatever the buffer has there. */
	cr_assert_eq(read_request(&req, offsetof(struct qp_attach, newest)), 0, "%s", msg.text);
	cr_expect_eq(version, QP_IPC_OLDEST);
	cr_expect_eq(got.newest, 0u);
}

Test(ipc_version, request_of_the_next_release_may_be_longer)
{
	struct {
		struct qp_attach req;
		uint32_t more[3];
	} longer = {request(QP_IPC_VERSION, QP_IPC_VERSION + 1, 300), {1, 2, 3}};

	cr_assert_eq(qp_attach_read(&longer, sizeof(longer), 3, &got, &version, &msg), 0);
	cr_expect_eq(version, QP_IPC_VERSION);
	cr_expect_eq(got.server_id, 300u);
}

Test(ipc_version, request_that_is_cut_or_of_somebody_else_is_none)
{
	struct qp_attach req = request(QP_IPC_OLDEST, QP_IPC_VERSION, 0);

	for (size_t len = 0; len < offsetof(struct qp_attach, newest); len++)
		cr_expect_eq(read_request(&req, len), QP_E_PROTO, "%zu bytes", len);
	req.magic++;
	cr_expect_eq(read_request(&req, sizeof(req)), QP_E_PROTO);
	cr_expect_eq(version, QP_IPC_VERSION, "it is refused in our own version");
}

Test(ipc_version, request_with_other_descriptors_than_workers_is_refused)
{
	struct qp_attach req = request(QP_IPC_OLDEST, QP_IPC_VERSION, 0);

	cr_expect_eq(qp_attach_read(&req, sizeof(req), 3, &got, &version, &msg), QP_E_PROTO);
	req.nworkers = QP_MAX_WORKERS + 1;
	cr_expect_eq(read_request(&req, sizeof(req)), QP_E_PROTO);
	req.nworkers = 0;
	cr_expect_eq(read_request(&req, sizeof(req)), QP_E_PROTO);
}

Test(ipc_version, data_plane_two_versions_off_is_told_both_versions_and_what_to_do)
{
	struct qp_attach newer = request(QP_IPC_VERSION + 1, QP_IPC_VERSION + 2, 300);
	struct qp_attach older = request(QP_IPC_OLDEST - 1, 0, 0);

	cr_expect_eq(read_request(&newer, sizeof(newer)), QP_E_VERSION);
	cr_expect_str_eq(msg.text, "the running data plane speaks ring protocol 5 to 6, this control "
		"plane 3 to 4: its tunnels run on; start a control plane of its release, or of the "
		"one before or after it");
	cr_expect_eq(version, QP_IPC_VERSION, "it reads of us what is nearest to it");
	cr_expect_eq(read_request(&older, sizeof(older)), QP_E_VERSION);
	cr_expect_str_eq(msg.text, "the data plane speaks ring protocol 2, this control plane 3 to 4: "
		"install both from one release, or from two that follow each other");
	cr_expect_eq(version, QP_IPC_OLDEST);
}

Test(ipc_version, answer_is_read_as_it_was_meant)
{
	struct qp_attach_reply r, read;

	qp_attach_answer(&r, QP_IPC_OLDEST, 0x3039, NULL);
	cr_assert_eq(qp_attach_reply_read(&r, sizeof(r), &read, &msg), 0);
	cr_expect_eq(read.server_id, 0x3039u);
	cr_expect_eq(read.version, QP_IPC_OLDEST);
	cr_assert_eq(qp_attach_reply_read(&r, offsetof(struct qp_attach_reply, oldest), &read, &msg), 0);
	qp_attach_answer(&r, QP_IPC_VERSION + 9, 0, "no room");
	cr_expect_eq(qp_attach_reply_read(&r, sizeof(r), &read, &msg), QP_E_PERM);
	cr_expect_str_eq(msg.text, "the control plane refuses: no room");
	cr_expect_eq(qp_attach_reply_read(&r, sizeof(r.magic), &read, &msg), QP_E_CLOSED);
}

Test(ipc_version, answer_in_a_version_that_is_not_ours_is_not_taken)
{
	struct qp_attach_reply r, read;

	qp_attach_answer(&r, QP_IPC_VERSION + 1, 0x3039, NULL);
	r.oldest = QP_IPC_VERSION + 1;
	r.newest = QP_IPC_VERSION + 2;
	cr_expect_eq(qp_attach_reply_read(&r, sizeof(r), &read, &msg), QP_E_VERSION);
	cr_expect_str_eq(msg.text, "the control plane speaks ring protocol 5 to 6, this data plane 3 "
		"to 4: install both from one release, or from two that follow each other");
	qp_attach_answer(&r, QP_IPC_VERSION, 0x10000, NULL);
	cr_expect_eq(qp_attach_reply_read(&r, sizeof(r), &read, &msg), QP_E_PROTO);
}

Test(ipc_version, older_peer_is_not_sent_what_it_does_not_know)
{
	cr_expect_eq(qp_msg_since(QP_MSG_CONFIG), 3u);
	cr_expect_eq(qp_msg_since(QP_MSG_LOG_LEVELS), 3u);
	cr_expect_eq(qp_msg_since(QP_MSG_LOG_LEVELS + 1), 4u);
}
