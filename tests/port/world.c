/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces for tests of host mode; see world.h. */
#include "tests/port/world.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
new_namespace(void)
{
	int fd;

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "cannot make a network namespace: %s",
		strerror(errno));
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	/* Addresses are usable at once. */
	world_run("for i in all default; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done; "
		  "ip link set lo up");
	return fd;
}

static void
enter(int ns)
{
	cr_assert_eq(setns(ns, CLONE_NEWNET), 0, "setns: %s", strerror(errno));
}

void
world_enter_gw(const struct world *w)
{
	enter(w->gw_ns);
}

void
world_enter_peer(const struct world *w)
{
	enter(w->peer_ns);
}

static char *
vformat(const char *fmt, va_list ap)
{
	char *text;

	cr_assert_geq(vasprintf(&text, fmt, ap), 0);
	return text;
}

void
world_run(const char *fmt, ...)
{
	va_list ap;
	char *cmd;

	va_start(ap, fmt);
	cmd = vformat(fmt, ap);
	va_end(ap);
	cr_assert_eq(system(cmd), 0, "failed: %s", cmd);
	free(cmd);
}

char *
world_output(const char *fmt, ...)
{
	char *cmd, *text = NULL, chunk[4096];
	size_t len, n;
	va_list ap;
	FILE *in, *out = open_memstream(&text, &len);

	va_start(ap, fmt);
	cmd = vformat(fmt, ap);
	va_end(ap);
	in = popen(cmd, "re");
	cr_assert(in != NULL && out != NULL);
	while ((n = fread(chunk, 1, sizeof(chunk), in)) > 0)
		fwrite(chunk, 1, n, out);
	cr_assert_eq(pclose(in), 0, "failed: %s", cmd);
	fclose(out);
	free(cmd);
	return text;
}

/* A link is usable, and has its link-local address, a moment after it came up. */
static void
wait_for_link(const char *name, char *link_local, size_t cap)
{
	bool ready = false;

	world_wait_for(ready, {
		char *text = world_output("ip -6 -o addr show dev %s scope link -tentative | "
					  "sed 's/.*inet6 //; s/\\/.*//' | tr -d '\\n'; "
					  "ip -6 route get ff02::1 oif %s >/dev/null", name, name);

		ready = text[0] != '\0';
		snprintf(link_local, cap, "%s", text);
		free(text);
	});
}

void
world_open(struct world *w)
{
	char text[sizeof(w->gw_link_local)];

	if (geteuid() != 0)
		cr_skip_test("needs root: it makes network namespaces and loads eBPF programs");
	snprintf(w->dir, sizeof(w->dir), "/tmp/qp-port-test.XXXXXX");
	cr_assert_not_null(mkdtemp(w->dir));
	w->peer_ns = new_namespace();
	w->gw_ns = new_namespace();
	world_run("ip link add gw0 type veth peer name out0 netns /proc/%d/fd/%d", getpid(),
		w->peer_ns);
	world_run("ip addr add " WORLD_GW4 "/24 dev gw0; ip addr add " WORLD_GW6 "/64 dev gw0; "
		  "ip link set gw0 up");
	world_enter_peer(w);
	world_run("ip addr add " WORLD_PEER4 "/24 dev out0; ip addr add " WORLD_PEER6 "/64 dev out0; "
		  "ip link set out0 up");
	world_enter_gw(w);
	world_enter_peer(w);
	wait_for_link("out0", text, sizeof(text));
	world_enter_gw(w);
	wait_for_link("gw0", w->gw_link_local, sizeof(w->gw_link_local));
}

void
world_close(struct world *w)
{
	world_run("rm -rf %s", w->dir);
	close(w->gw_ns);
	close(w->peer_ns);
}
