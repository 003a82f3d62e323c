/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a client reads and that people, and other programs, write: the
 * configuration, and known_hosts. A mistake is one line that can be printed.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/config.h"
#include "client/known_hosts.h"

static void
check_line(const struct qp_errmsg *msg)
{
	FUZZ_CHECK(msg->text[0] != '\0');
	for (const char *c = msg->text; *c != '\0'; c++)
		FUZZ_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void
read_config(const char *path)
{
	const struct qpc_options o = {.config = path,
		.set = {.reconnect_delay_s = 1, .idle_timeout_s = 90}};
	static struct qpc_config c;
	struct qp_errmsg msg = {""};

	if (qpc_config_load(&o, &c, &msg) != QP_OK) {
		check_line(&msg);
		FUZZ_CHECK(c.data == NULL && c.specs.n == 0);
		return;
	}
	FUZZ_CHECK(c.specs.n > 0 && c.specs.n <= QPC_MAX_FORWARDS);
	for (size_t i = 0; i < c.specs.n; i++) {
		FUZZ_CHECK(c.specs.v[i].remote != NULL && c.specs.v[i].local != NULL);
		FUZZ_CHECK(qpc_spec_equal(&c.specs.v[i], &c.specs.v[i]));
	}
	FUZZ_CHECK(c.set.idle_timeout_s >= 1 && c.set.reconnect_delay_s >= 1);
	qpc_config_free(&c);
}

static void
read_known_hosts(const char *path)
{
	char recorded[QP_FINGERPRINT_TEXT_BYTES];
	struct qp_errmsg msg = {""};
	enum qpc_known verdict;

	if (qpc_known_hosts_lookup(path, "gateway.example:39000", "AA:BB", &verdict, recorded, &msg) !=
		QP_OK) {
		check_line(&msg);
		return;
	}
	FUZZ_CHECK(memchr(recorded, '\0', sizeof(recorded)) != NULL);
	FUZZ_CHECK((verdict == QPC_HOST_UNKNOWN) == (recorded[0] == '\0'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* As the seeds begin. Only one of them: guarded memory for known_hosts takes a while. */
	if (size > 0 && strchr("#g[", data[0]) != NULL)
		read_known_hosts(path);
	else
		read_config(path);
	return 0;
}
