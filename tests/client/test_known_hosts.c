/* SPDX-License-Identifier: Apache-2.0 */
#include "client/known_hosts.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/support.h"

#define A "AA:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:01"
#define B "BB:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:02"

static const char *folder;

static void
setup(void)
{
	folder = scratch_make();
}

TestSuite(known_hosts, .init = setup, .fini = scratch_remove);

static enum qpc_known
lookup(const char *path, const char *host, const char *print)
{
	char recorded[QP_FINGERPRINT_TEXT_BYTES];
	struct qp_errmsg msg;
	enum qpc_known known;

	cr_assert_eq(qpc_known_hosts_lookup(path, host, print, &known, recorded, &msg), 0);
	cr_assert_eq(known == QPC_HOST_UNKNOWN, recorded[0] == '\0');
	return known;
}

static char *
slurp(const char *path)
{
	static char text[65536];
	FILE *f = fopen(path, "r");
	size_t n = fread(text, 1, sizeof(text) - 1, f);

	fclose(f);
	text[n] = '\0';
	return text;
}

Test(known_hosts, missing_file_knows_nobody)
{
	cr_assert_eq(lookup(scratch_path("no/such"), "h:1", A), QPC_HOST_UNKNOWN);
}

Test(known_hosts, file_lookup_follows_its_lines)
{
	const char *path = scratch_file("kh",
		"# gateways\n"
		"\n"
		"gw.example:39000 " A "\n"
		"  [2001:db8::1]:39000\t" B "  \r\n"
		"#gw.example:39001 " A "\n"
		"short\n"
		"twice:1 " A "\n"
		"twice:1 " B "\n"
		"last:1 " A,
		0600);

	cr_assert_eq(lookup(path, "gw.example:39000", A), QPC_HOST_KNOWN);
	cr_assert_eq(lookup(path, "GW.Example:39000", A), QPC_HOST_KNOWN);
	cr_assert_eq(lookup(path, "gw.example:39000", B), QPC_HOST_CHANGED);
	cr_assert_eq(lookup(path, "gw.example:3900", A), QPC_HOST_UNKNOWN);
	cr_assert_eq(lookup(path, "gw.example:39001", A), QPC_HOST_UNKNOWN);
	cr_assert_eq(lookup(path, "[2001:db8::1]:39000", B), QPC_HOST_KNOWN);
	cr_assert_eq(lookup(path, "twice:1", B), QPC_HOST_KNOWN);
	cr_assert_eq(lookup(path, "last:1", A), QPC_HOST_KNOWN);
}

Test(known_hosts, record_makes_folders_and_a_private_file)
{
	char path[512];
	struct qp_errmsg msg;
	struct stat st;

	snprintf(path, sizeof(path), "%s/a/b/known_hosts", folder);
	cr_assert_eq(qpc_known_hosts_record(path, "h:1", A, &msg), 0, "%s", msg.text);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_str_eq(slurp(path), "h:1 " A "\n");
}

Test(known_hosts, record_replaces_only_the_hosts_lines)
{
	const char *path = scratch_file("kh", "# mine\nh:1 " A "\nother:2 " A "\nH:1 " A, 0600);
	struct qp_errmsg msg;

	cr_assert_eq(qpc_known_hosts_record(path, "h:1", B, &msg), 0, "%s", msg.text);
	cr_assert_str_eq(slurp(path), "# mine\nother:2 " A "\nh:1 " B "\n");
}

Test(known_hosts, record_by_many_at_once_loses_nothing)
{
	char path[512], host[32];
	struct qp_errmsg msg;

	snprintf(path, sizeof(path), "%s/kh", folder);
	for (int i = 0; i < 8; i++) {
		if (fork() != 0)
			continue;
		for (int k = 0; k < 10; k++) {
			snprintf(host, sizeof(host), "host-%d-%d:1", i, k);
			if (qpc_known_hosts_record(path, host, A, &msg) != 0)
				_exit(1);
		}
		_exit(0);
	}
	for (int i = 0; i < 8; i++) {
		int status;

		cr_assert(wait(&status) > 0);
		cr_assert_eq(status, 0);
	}
	for (int i = 0; i < 80; i++) {
		snprintf(host, sizeof(host), "host-%d-%d:1", i / 10, i % 10);
		cr_assert_eq(lookup(path, host, A), QPC_HOST_KNOWN, "%s is lost", host);
	}
}

Test(known_hosts, unreadable_file_is_an_error_that_names_it)
{
	char recorded[QP_FINGERPRINT_TEXT_BYTES];
	struct qp_errmsg msg = {0};
	enum qpc_known known;

	cr_assert_lt(qpc_known_hosts_lookup(folder, "h:1", A, &known, recorded, &msg), 0);
	cr_assert_not_null(strstr(msg.text, folder));
}
