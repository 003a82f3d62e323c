/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gateway's configuration file: whatever is in it, it is taken whole or
 * refused with lines that can be printed, and what is taken is a policy that
 * answers.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/options.h"

static void
check_mistakes(const struct qp_mistakes *m)
{
	FUZZ_CHECK(m->n > 0);
	for (unsigned i = 0; i < m->n; i++) {
		FUZZ_CHECK(m->v[i].text[0] != '\0');
		for (const char *c = m->v[i].text; *c != '\0'; c++)
			FUZZ_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
	}
}

static void
check_policy(const struct qp_policy *p)
{
	for (unsigned i = 0; i < qp_policy_count(p); i++) {
		const struct qp_policy_client *c = qp_policy_at(p, i);

		FUZZ_CHECK(c->id != 0 && qp_policy_by_name(p, c->name) == c);
		FUZZ_CHECK(c->grants.nsources <= QP_CLIENT_MAX_SOURCES);
		FUZZ_CHECK(!qp_grants_allow_port(&c->grants, 1, 0) || c->grants.any_port);
	}
}

static void
read_config(char *path)
{
	static struct qp_mistakes mistakes;
	char name[] = "control-plane", option[80];
	char *argv[] = {name, option, NULL};
	struct qp_policy *p = NULL;
	struct qp_options o;
	struct qp_errmsg msg = {""};

	memset(&mistakes, 0, sizeof(mistakes));
	snprintf(option, sizeof(option), "--config=%s", path);
	if (qp_options_read(&o, 2, argv, &(struct qp_options_how) {.mistakes = &mistakes}, &msg) !=
		0) {
		check_mistakes(&mistakes);
		FUZZ_CHECK(msg.text[0] != '\0');
		return;
	}
	if (qp_options_policy(&o, NULL, NULL, NULL, NULL, &p, &mistakes) == 0)
		check_policy(p);
	else
		check_mistakes(&mistakes);
	qp_policy_free(p);
	qp_options_free(&o);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];

	if (fd < 0) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		FUZZ_CHECK(qp_keys_init() == 0);
		FUZZ_CHECK(fchmod(fd, 0600) == 0); /* no warning about secrets in it */
	}
	/* What an include finds is this machine's matter, and may be much. */
	if (memmem(data, size, "include", 7) != NULL)
		return 0;
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_config(path);
	return 0;
}
