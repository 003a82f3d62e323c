/* SPDX-License-Identifier: Apache-2.0 */
/* host.state: what is written is read back, and nothing else passes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/hostnet_state.h"

#define HEAD "quicport-host 1\nnetns 4026531840\n"

Test(host_state, what_is_written_is_read_back)
{
	struct qp_host_state s = {.netns = UINT64_MAX}, t = {0};
	char *text;

	for (uint32_t i = 1; i <= 100; i++)
		cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {i, i + 1, i + 2,
				UINT32_MAX - i}), 0);
	text = qp_host_state_format(&s);
	cr_assert_eq(qp_host_state_parse(text, &t), 0);
	cr_expect_eq(t.netns, s.netns);
	cr_assert_eq(t.nfilters, 100);
	cr_expect_eq(memcmp(t.filters, s.filters, 100 * sizeof(*t.filters)), 0);
	free(text);
	qp_host_state_clear(&s);
	qp_host_state_clear(&t);
}

Test(host_state, put_replaces_and_drop_forgets)
{
	struct qp_host_state s = {0};

	cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {1, 2, 3, 4}), 0);
	cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {5, 6, 7, 8}), 0);
	cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {1, 9, 9, 9}), 0);
	cr_expect_eq(s.nfilters, 2);
	cr_expect_eq(qp_host_state_find(&s, 1)->handle, 9);
	qp_host_state_drop(&s, 1);
	qp_host_state_drop(&s, 1);
	cr_expect_null(qp_host_state_find(&s, 1));
	cr_expect_eq(qp_host_state_find(&s, 5)->prog_id, 8);
	cr_expect_eq(s.nfilters, 1);
	qp_host_state_clear(&s);
}

Test(host_state, anything_else_is_refused_whole)
{
	static const char *const bad[] = {
		"",
		"quicport-host 1\n",
		"quicport-host 2\nnetns 1\n",
		"netns 1\nquicport-host 1\n",
		"quicport-host 1\nnetns x\n",
		"quicport-host 1\nnetns 1 2\n",
		HEAD "filter 1 2 3\n",
		HEAD "filter 1 2 3 4x\n",
		HEAD "filter 1 2 3 4", /* cut */
		HEAD "filter 1 2 3 4\n\n",
		HEAD "Filter 1 2 3 4\n",
		HEAD "filter 1 2 3 "
		     "4444444444444444444444444444444444444444444444444444444444444444444444444444"
		     "4444444444444444444444444444444444444444444444444444444444444444444444444444\n",
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct qp_host_state s = {0};

		cr_expect_eq(qp_host_state_parse(bad[i], &s), QP_E_INVAL, "%s", bad[i]);
		cr_expect_null(s.filters);
		cr_expect_eq(s.nfilters, 0);
		qp_host_state_clear(&s);
	}
}

Test(host_state, what_a_later_release_adds_is_skipped)
{
	struct qp_host_state s = {0};

	cr_assert_eq(qp_host_state_parse(HEAD "route 5 6\nfilter 1 2 3 4 5 more\npinned\n", &s), 0);
	cr_expect_eq(s.nfilters, 1);
	cr_expect_eq(s.filters[0].prog_id, 4u);
	qp_host_state_clear(&s);
}

Test(host_state, file_is_saved_loaded_and_removed)
{
	struct qp_host_state s = {.netns = 7}, t;
	char dir[] = "/tmp/qp-host-state.XXXXXX", path[64];
	struct qp_errmsg msg;

	cr_assert_not_null(mkdtemp(dir));
	cr_expect_eq(qp_host_state_load(dir, &t, &msg), QP_E_NOTFOUND);
	cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {1, 2, 3, 4}), 0);
	cr_assert_eq(qp_host_state_save(dir, &s, &msg), 0, "%s", msg.text);
	cr_assert_eq(qp_host_state_save(dir, &s, &msg), 0, "over the old one: %s", msg.text);
	cr_assert_eq(qp_host_state_load(dir, &t, &msg), 0, "%s", msg.text);
	cr_expect_eq(t.netns, 7);
	cr_expect_eq(t.nfilters, 1);
	qp_host_state_clear(&t);
	qp_host_state_remove(dir);
	cr_expect_eq(qp_host_state_load(dir, &t, &msg), QP_E_NOTFOUND);
	snprintf(path, sizeof(path), "%s/none", dir);
	cr_expect_neq(qp_host_state_save(path, &s, &msg), 0);
	cr_expect_not_null(strstr(msg.text, path), "%s", msg.text);
	qp_host_state_clear(&s);
	rmdir(dir);
}
