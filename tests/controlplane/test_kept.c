/* SPDX-License-Identifier: Apache-2.0 */
/* Counters that outlive a control plane: what is written is read, once, and nothing else. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/shared.h"
#include "controlplane/kept.h"

static char dir[] = "/tmp/qp-kept-XXXXXX";
static char path[64];
static struct qp_kept k, got;
static struct qp_usage *usage;

static void
begin(void)
{
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/counters", dir);
	usage = qp_usage_new(NULL, NULL, NULL);
	cr_assert_not_null(usage);
}

static void
end(void)
{
	unlink(path);
	rmdir(dir);
	free(usage);
}

TestSuite(kept, .init = begin, .fini = end);

/* As a data plane has it; the caller's. */
static void *
block(uint64_t conns, uint64_t active, size_t *len)
{
	struct qp_gen_shared *s;

	*len = qp_shared_bytes(2, 0);
	s = aligned_alloc(64, (*len + 63) / 64 * 64);
	cr_assert_not_null(s);
	qp_shared_init(s, 2, 0);
	qp_shared_worker(s, 0)->c.conns_total = conns;
	qp_shared_worker(s, 1)->c.conns_total = 1;
	qp_shared_worker(s, 1)->c.conns_active = active;
	return s;
}

Test(kept, what_is_kept_is_found_again)
{
	size_t len;
	void *b = block(41, 7, &len);
	struct qp_usage_kept alice = {.closed = {.in_bytes = 5, .conns_total = 2},
		.shown = {.in_bytes = 50, .conns_total = 2}, .name = "alice"}, back;

	cr_assert(qp_kept_retire_block(&k, 300, b, len));
	free(b);
	k.auth.psk_success = 3;
	k.stats.deaths = 4;
	qp_usage_resume(usage, &alice);
	qp_kept_save(&k, usage, dir);

	free(usage);
	usage = qp_usage_new(NULL, NULL, NULL);
	qp_kept_load(&got, usage, dir);
	cr_assert_eq(got.retired.c.conns_total, 42);
	cr_assert_eq(got.retired.c.conns_active, 0, "what is now ends with who has it");
	cr_assert_eq(got.auth.psk_success, 3);
	cr_assert_eq(got.stats.deaths, 4);
	cr_assert_eq(qp_usage_naccounts(usage), 2);
	qp_usage_keep(usage, 0, &back);
	cr_assert_eq(memcmp(&back, &alice, sizeof(back)), 0);
}

Test(kept, generation_counts_once_also_after_a_kill)
{
	size_t len;
	void *b = block(10, 0, &len);

	cr_assert(qp_kept_retire_block(&k, 300, b, len));
	cr_assert_not(qp_kept_retire_block(&k, 300, b, len));
	qp_kept_save(&k, NULL, dir);
	qp_kept_load(&got, NULL, dir);
	cr_assert_not(qp_kept_retire_block(&got, 300, b, len));
	cr_assert(qp_kept_retire_block(&got, 301, b, len));
	cr_assert_eq(got.retired.c.conns_total, 22);
	free(b);
}

Test(kept, no_file_is_all_zero)
{
	static const struct qp_kept zero;

	got.auth.psk_success = 9;
	qp_kept_load(&got, usage, dir);
	cr_assert_eq(memcmp(&got, &zero, sizeof(got)), 0);
}

/* Whatever is in the file: nothing beyond it is read (a sanitizer's matter), and it is all or nothing. */
Test(kept, file_that_was_cut_or_changed_harms_nobody)
{
	size_t len;
	void *b = block(10, 0, &len);
	struct stat st;
	int fd;

	cr_assert(qp_kept_retire_block(&k, 300, b, len));
	free(b);
	qp_kept_save(&k, usage, dir);
	cr_assert_eq(stat(path, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 7) {
		qp_kept_save(&k, usage, dir);
		fd = open(path, O_RDWR);
		cr_assert_geq(fd, 0);
		cr_assert_eq(pwrite(fd, "\xff\xff\xff\xff", 4, at), 4);
		close(fd);
		qp_kept_load(&got, usage, dir);
		qp_kept_save(&k, usage, dir);
		cr_assert_eq(truncate(path, at), 0);
		qp_kept_load(&got, NULL, dir);
		cr_assert_eq(got.retired.c.conns_total, 0);
	}
}
