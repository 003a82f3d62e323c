/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What host mode changes on the host, and that it takes everything back: at the
 * end, after a kill, beside other gateways and other users of tc.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/hostnet_shared.h"
#include "controlplane/hostnet_state.h"
#include "dataplane/port.h"
#include "tests/port/gw.h"

#define SIDE_BY_SIDE 8u

static void
expect_snapshot(const char *before, const char *when)
{
	char *now = gw_snapshot();

	cr_expect_str_eq(now, before, "the host is not as before %s:\n%s\n--- before:\n%s", when,
		now, before);
	free(now);
}

static bool
shared_file_exists(void)
{
	char path[128];

	snprintf(path, sizeof(path), QP_HOST_SHARED_DIR "/%llu",
		(unsigned long long)qp_host_netns());
	return access(path, F_OK) == 0;
}

static bool
has_classifier(const char *dev)
{
	char *text = world_output("tc filter show dev %s ingress", dev);
	bool has = strstr(text, "qp_ingress") != NULL;

	free(text);
	return has;
}

Test(life, close_takes_everything_back)
{
	struct qp_hostnet_config cfg;
	struct qp_hostnet *h;
	struct world w;
	char *before;

	world_open(&w);
	before = gw_snapshot();
	cfg = gw_config(&w);
	h = gw_hostnet_open(&cfg);
	cr_expect(has_classifier("lo") && has_classifier("gw0"));
	world_run("test -s %s/host.state", w.dir);
	cr_expect(shared_file_exists());
	qp_hostnet_close(h);
	expect_snapshot(before, "the gateway");
	world_run("test ! -e %s/host.state", w.dir);
	cr_expect_not(shared_file_exists());
	free(before);
	world_close(&w);
}

Test(life, other_users_of_tc_are_left_alone)
{
	struct qp_hostnet_config cfg;
	struct qp_hostnet *h;
	struct world w;
	char *before;

	world_open(&w);
	/* One has clsact with filters on both sides, one the older ingress qdisc, one our place. */
	world_run("tc qdisc add dev gw0 clsact; "
		  "tc filter add dev gw0 ingress prio 5 bpf bytecode '1,6 0 0 0,'; "
		  "tc filter add dev gw0 ingress prio 20816 protocol ip handle 1 u32 "
		  "match u32 0 0 2>/dev/null || "
		  "tc filter add dev gw0 ingress prio 20816 protocol ip bpf bytecode '1,6 0 0 0,'; "
		  "tc filter add dev gw0 egress prio 7 bpf bytecode '1,6 0 0 0,'; "
		  "tc qdisc add dev lo ingress");
	before = gw_snapshot();
	cfg = gw_config(&w);
	h = gw_hostnet_open(&cfg);
	cr_expect(has_classifier("lo") && has_classifier("gw0"));
	qp_hostnet_close(h);
	expect_snapshot(before, "the gateway");
	free(before);
	world_close(&w);
}

Test(life, filter_that_came_to_our_qdisc_keeps_it)
{
	struct qp_hostnet_config cfg;
	struct qp_hostnet *h;
	struct world w;
	char *text;

	world_open(&w);
	cfg = gw_config(&w);
	h = gw_hostnet_open(&cfg);
	world_run("tc filter add dev gw0 egress prio 7 bpf bytecode '1,6 0 0 0,'");
	qp_hostnet_close(h);
	text = world_output("tc filter show dev gw0 egress; tc qdisc show dev lo");
	cr_expect_not_null(strstr(text, "pref 7"));
	cr_expect_null(strstr(text, "clsact"), "lo's is not needed any more");
	cr_expect_not(has_classifier("gw0"));
	cr_expect_not(shared_file_exists());
	free(text);
	world_close(&w);
}

/* Killed between a qdisc and its filter: only the file that gateways share knows of it. */
Test(life, qdisc_that_never_got_its_filter_goes_with_the_last_gateway)
{
	struct qp_hostnet_config cfg;
	struct qp_errmsg msg;
	struct qp_hostnet *h;
	struct world w;
	char *text, *before;

	world_open(&w);
	before = gw_snapshot();
	cfg = gw_config(&w);
	h = gw_hostnet_open(&cfg);
	world_run("ip link add late0 type veth peer name late1"); /* it has not heard of them yet */
	cr_assert_eq(qp_host_clsact_ensure(if_nametoindex("late0"), &msg), 0);
	cr_assert_eq(qp_host_clsact_ensure(if_nametoindex("late1"), &msg), 0);
	world_run("tc filter add dev late1 egress prio 7 bpf bytecode '1,6 0 0 0,'");
	qp_hostnet_close(h);
	text = world_output("tc qdisc show dev late0; tc filter show dev late1 egress");
	cr_expect_null(strstr(text, "clsact"), "%s", text);
	cr_expect_not_null(strstr(text, "pref 7"), "somebody else's filter keeps it");
	free(text);
	world_run("ip link del late0");
	expect_snapshot(before, "the gateway");
	cr_expect_not(shared_file_exists());
	free(before);
	world_close(&w);
}

/* Runs a gateway in a process of its own and kills it in the middle of its life. */
static void
run_and_kill(const struct qp_hostnet_config *cfg)
{
	int up[2], status;
	pid_t pid;
	char ok;

	cr_assert_eq(pipe(up), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct qp_hostnet *h;
		struct qp_errmsg msg;

		if (qp_hostnet_open(cfg, &h, &msg) == 0 && write(up[1], "y", 1) == 1)
			pause();
		_exit(1);
	}
	close(up[1]);
	cr_assert_eq(read(up[0], &ok, 1), 1, "the gateway did not start");
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	close(up[0]);
}

Test(life, killed_gateway_is_undone_by_the_next)
{
	struct qp_hostnet_config cfg;
	struct qp_errmsg msg;
	struct world w;
	char *before;

	world_open(&w);
	world_run("tc qdisc add dev gw0 clsact; "
		  "tc filter add dev gw0 ingress prio 5 bpf bytecode '1,6 0 0 0,'");
	before = gw_snapshot();
	cfg = gw_config(&w);
	run_and_kill(&cfg);
	cr_expect(has_classifier("lo") && has_classifier("gw0"), "nothing was left to undo");

	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), 0, "%s", msg.text);
	expect_snapshot(before, "the killed gateway");
	cr_expect_not(shared_file_exists());
	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), 0, "a second time: %s", msg.text);
	/* And the ports are free for the next. */
	qp_hostnet_close(gw_hostnet_open(&cfg));
	expect_snapshot(before, "the next gateway");
	free(before);
	world_close(&w);
}

Test(life, undo_spares_the_gateway_beside)
{
	struct qp_hostnet_config cfg, other;
	struct qp_hostnet *alive;
	struct qp_errmsg msg;
	struct world w;
	char *before, dir[128];

	world_open(&w);
	before = gw_snapshot();
	snprintf(dir, sizeof(dir), "%s/other", w.dir);
	world_run("mkdir %s", dir);
	cfg = other = gw_config(&w);
	other.state_dir = dir;
	other.quic_port++;
	other.public_port = 0;
	/* The dead one made the qdiscs; the living one uses them. */
	run_and_kill(&cfg);
	alive = gw_hostnet_open(&other);
	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), 0, "%s", msg.text);
	cr_expect(has_classifier("lo") && has_classifier("gw0"), "the living one lost its filters");
	world_run("test \"$(sysctl -n net.ipv4.conf.lo.accept_local)\" = 1");
	qp_hostnet_close(alive);
	expect_snapshot(before, "both");
	free(before);
	world_close(&w);
}

Test(life, undo_leaves_filters_that_took_our_place)
{
	struct qp_host_state s = {0};
	struct qp_errmsg msg;
	struct world w;
	char *before;

	world_open(&w);
	world_run("tc qdisc add dev gw0 clsact; "
		  "tc filter add dev gw0 ingress prio 20816 handle 7 bpf bytecode '1,6 0 0 0,'");
	before = gw_snapshot();
	s.netns = qp_host_netns();
	cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {if_nametoindex("gw0"), 20816,
			7, 12345}), 0);
	cr_assert_eq(qp_host_state_put(&s, &(struct qp_host_filter) {9999, 20816, 7, 12345}), 0);
	cr_assert_eq(qp_host_state_save(w.dir, &s, &msg), 0, "%s", msg.text);
	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), 0, "%s", msg.text);
	expect_snapshot(before, "undo");
	qp_host_state_clear(&s);
	free(before);
	world_close(&w);
}

Test(life, state_of_another_namespace_touches_nothing_here)
{
	struct qp_hostnet_config cfg;
	struct qp_errmsg msg;
	struct world w;
	char *before;

	world_open(&w);
	cfg = gw_config(&w);
	run_and_kill(&cfg);
	world_enter_peer(&w);
	before = gw_snapshot();
	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), 0, "%s", msg.text);
	expect_snapshot(before, "undo");
	world_run("test ! -e %s/host.state", w.dir);
	world_enter_gw(&w);
	cr_expect_not(shared_file_exists());
	free(before);
	world_close(&w);
}

Test(life, unreadable_state_is_an_error_that_names_the_file)
{
	struct qp_errmsg msg;
	struct world w;

	world_open(&w);
	world_run("echo rubbish >%s/host.state", w.dir);
	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, w.dir), "%s", msg.text);
	world_run("rm %s/host.state", w.dir);
	cr_expect_eq(qp_hostnet_undo_stale(w.dir, &msg), 0);
	world_close(&w);
}

/* A socket that is bound as a server of this host would be. */
static int
host_bind(int type, const char *addr, uint16_t port, bool listening)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type, 0), on = 1;

	cr_assert_eq(inet_pton(AF_INET, addr, &a.sin_addr), 1);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || (listening && listen(fd, 1) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

Test(life, port_that_the_host_uses_is_refused)
{
	static const struct {
		int type, protocol;
		const char *name;
	} kinds[] = {{SOCK_STREAM, IPPROTO_TCP, "7001/tcp"}, {SOCK_DGRAM, IPPROTO_UDP, "7001/udp"}};
	struct qp_errmsg msg;
	struct gw g;

	gw_open(&g);
	for (unsigned i = 0; i < 2; i++) {
		int fd = host_bind(kinds[i].type, "127.0.0.1", 7001, i == 0);

		cr_assert_geq(fd, 0);
		cr_expect_eq(qp_hostnet_port_open(g.h, kinds[i].protocol, 7001, NULL,
				     g.r.port->ifindex, &msg), QP_E_INUSE);
		cr_expect_not_null(strstr(msg.text, kinds[i].name), "%s", msg.text);
		close(fd);
		cr_expect_eq(qp_hostnet_port_open(g.h, kinds[i].protocol, 7001, NULL,
				     g.r.port->ifindex, &msg), 0, "%s", msg.text);
		/* Now it is ours: neither the host nor a second forward gets it. */
		cr_expect_eq(host_bind(kinds[i].type, "0.0.0.0", 7001, i == 0), -1);
		cr_expect_eq(host_bind(kinds[i].type, "127.0.0.1", 7001, i == 0), -1);
		cr_expect_eq(qp_hostnet_port_open(g.h, kinds[i].protocol, 7001, NULL,
				     g.r.port->ifindex, &msg), QP_E_INUSE);
	}
	cr_expect_eq(qp_hostnet_port_open(g.h, IPPROTO_UDP, GW_QUIC_PORT, NULL,
			     g.r.port->ifindex, &msg), QP_E_INUSE);
	cr_expect_eq(qp_hostnet_port_open(g.h, IPPROTO_TCP, 0, NULL, g.r.port->ifindex, &msg),
		QP_E_INVAL);
	gw_close(&g);
}

Test(life, gateway_whose_port_is_in_use_changes_nothing)
{
	struct qp_hostnet_config cfg;
	struct qp_hostnet *h;
	struct qp_errmsg msg;
	struct world w;
	char *before;
	int fd;

	world_open(&w);
	before = gw_snapshot();
	cfg = gw_config(&w);
	fd = host_bind(SOCK_STREAM, "127.0.0.1", GW_PUBLIC_PORT, true);
	cr_assert_geq(fd, 0);
	cr_expect_eq(qp_hostnet_open(&cfg, &h, &msg), QP_E_INUSE);
	cr_expect_not_null(strstr(msg.text, "4434/tcp"), "%s", msg.text);
	close(fd);
	cfg.quic_addr = (struct in6_addr) {.s6_addr = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}};
	cr_expect_eq(qp_hostnet_open(&cfg, &h, &msg), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, "192.0.2.1"), "%s", msg.text);
	cfg = gw_config(&w);
	cfg.interfaces = (const char *[]) {"gw0", "nonesuch"};
	cfg.ninterfaces = 2;
	cr_expect_eq(qp_hostnet_open(&cfg, &h, &msg), QP_E_NOTFOUND);
	cr_expect_not_null(strstr(msg.text, "nonesuch"), "%s", msg.text);
	expect_snapshot(before, "the attempts");
	cr_expect_not(shared_file_exists());
	free(before);
	world_close(&w);
}

Test(life, without_privileges_it_says_so)
{
	struct qp_hostnet_config cfg;
	struct world w;
	int status;
	pid_t pid;

	world_open(&w);
	cfg = gw_config(&w);
	world_run("chmod 777 %s", w.dir);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct qp_hostnet *h;
		struct qp_errmsg msg;
		int rc = setuid(65534) == 0 ? qp_hostnet_open(&cfg, &h, &msg) : 0;

		_exit(rc == QP_E_PERM && strstr(msg.text, "root") != NULL ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	world_close(&w);
}

Test(life, eight_gateways_serve_side_by_side)
{
	struct qp_hostnet *h[SIDE_BY_SIDE];
	struct responder r[SIDE_BY_SIDE];
	struct rte_mempool *pool;
	struct qp_errmsg msg;
	struct world w;
	char *before;

	world_open(&w);
	before = gw_snapshot();
	pool = responder_eal(8191);
	for (uint16_t i = 0; i < SIDE_BY_SIDE; i++) {
		struct qp_hostnet_config cfg = gw_config(&w);
		char name[16], dir[128];

		snprintf(name, sizeof(name), "qptap%u", i);
		snprintf(dir, sizeof(dir), "%s/gw%u", w.dir, i);
		world_run("mkdir %s", dir);
		cfg.state_dir = dir;
		cfg.quic_port = (uint16_t)(GW_QUIC_PORT + 10 * i);
		cfg.public_port = (uint16_t)(GW_PUBLIC_PORT + 10 * i);
		responder_open(&r[i], name, pool);
		h[i] = gw_hostnet_open(&cfg);
		gw_add_worker(h[i], 1, 0, &r[i]);
		cr_assert_eq(qp_hostnet_set_active(h[i], 1, 1), 0);
		cr_assert_eq(qp_hostnet_port_open(h[i], IPPROTO_UDP, (uint16_t)(7000 + i), NULL,
				     r[i].port->ifindex, &msg), 0, "%s", msg.text);
	}
	/* The first ones' end, in between, is not the others'. */
	for (unsigned gone = 0; gone <= SIDE_BY_SIDE; gone++) {
		for (uint16_t i = (uint16_t)gone; i < SIDE_BY_SIDE; i++) {
			int fd = gw_connect("127.0.0.1", (uint16_t)(7000 + i), SOCK_DGRAM);
			const uint64_t n = atomic_load(&r[i].stats.udp);

			gw_udp_echo(fd, 100, "local");
			close(fd);
			world_enter_peer(&w);
			fd = gw_connect(WORLD_GW4, (uint16_t)(GW_QUIC_PORT + 10 * i), SOCK_DGRAM);
			world_enter_gw(&w);
			gw_udp_echo(fd, 100, "from the peer");
			close(fd);
			cr_expect_eq(atomic_load(&r[i].stats.udp), n + 2);
		}
		if (gone < SIDE_BY_SIDE) {
			qp_hostnet_close(h[gone]);
			responder_close(&r[gone]);
		}
	}
	expect_snapshot(before, "all of them");
	cr_expect_not(shared_file_exists());
	free(before);
	world_close(&w);
}

Test(life, interfaces_and_addresses_that_come_later_are_served)
{
	struct gw g;
	int fd;

	gw_open(&g);
	world_run("ip link add v0 type veth peer name v1; ip link set v0 up");
	world_wait_for(has_classifier("v0"), qp_hostnet_process(g.h));
	/* v1 is down, and ready for the moment when it comes up. */
	world_wait_for(has_classifier("v1"), qp_hostnet_process(g.h));
	world_run("ip link set v1 up");
	cr_expect_not(has_classifier("qptap0"));

	/* A bridge's port is the bridge's business. */
	world_run("ip link add br0 type bridge; ip link set br0 up; ip link set v1 master br0");
	world_wait_for(has_classifier("br0") && !has_classifier("v1"), qp_hostnet_process(g.h));
	world_run("ip link set v1 nomaster");
	world_wait_for(has_classifier("v1"), qp_hostnet_process(g.h));

	world_run("ip addr add 10.91.0.8/24 dev gw0");
	qp_hostnet_process(g.h);
	world_enter_peer(&g.w);
	fd = gw_connect("10.91.0.8", GW_ECHO_PORT, SOCK_DGRAM);
	world_enter_gw(&g.w);
	gw_udp_echo(fd, 10, "new address");
	world_run("ip addr del 10.91.0.8/24 dev gw0");
	qp_hostnet_process(g.h);
	cr_expect_not(gw_udp_answers(fd, "x", 1, 50), "the address is gone");
	close(fd);

	/* Deleted with a filter on them. */
	world_run("ip link del v0; ip link del br0");
	qp_hostnet_process(g.h);
	fd = gw_connect("127.0.0.1", GW_ECHO_PORT, SOCK_DGRAM);
	gw_udp_echo(fd, 10, "afterwards");
	close(fd);
	gw_close(&g);
}

/* How many of the networks that the classifier knows are reached by this interface. */
static unsigned
ways_by(const struct qp_hostnet *h, const char *dev)
{
	const uint32_t ifindex = if_nametoindex(dev);
	int fds[QP_HOSTNET_MAX_MAPS];
	unsigned found = 0, n = qp_hostnet_maps(h, fds, QP_HOSTNET_MAX_MAPS);
	struct qp_cls_way key, next;

	for (unsigned i = 0; i < n; i++) {
		struct bpf_map_info info = {0};
		uint32_t len = sizeof(info);

		cr_assert_eq(bpf_obj_get_info_by_fd(fds[i], &info, &len), 0);
		if (strcmp(info.name, "ways") != 0)
			continue;
		for (int rc = bpf_map_get_next_key(fds[i], NULL, &next); rc == 0;
			rc = bpf_map_get_next_key(fds[i], &key, &next)) {
			found += next.ifindex == ifindex;
			key = next;
		}
	}
	return found;
}

/* So many that the old ones and the new ones do not fit into the map together. */
#define ROUTES 6000u

static void
route_all_by(const char *dev)
{
	world_run("for i in $(seq 0 %u); do echo route replace "
		  "10.$((100 + i / 256)).$((i %% 256)).0/24 dev %s; done | ip -batch -",
		ROUTES - 1, dev);
}

Test(life, many_routes_that_move_at_once_are_all_followed)
{
	struct gw g;

	gw_open(&g);
	world_run("ip link add d0 type veth peer name e0; ip link set d0 up; ip link set e0 up");
	world_run("ip link add d1 type veth peer name e1; ip link set d1 up; ip link set e1 up");
	route_all_by("d0");
	world_wait_for(ways_by(g.h, "d0") >= ROUTES, qp_hostnet_process(g.h));
	route_all_by("d1");
	world_wait_for(ways_by(g.h, "d0") < ROUTES / 10, qp_hostnet_process(g.h));
	world_wait_for(ways_by(g.h, "d1") >= ROUTES, qp_hostnet_process(g.h));
	gw_close(&g);
}

Test(life, address_that_comes_back_before_we_hear_of_it_resets_no_connection)
{
	struct gw g;
	char byte;
	int fd;

	gw_open(&g);
	world_run("ip addr add 10.91.0.8/24 dev gw0");
	qp_hostnet_process(g.h);
	world_enter_peer(&g.w);
	fd = gw_connect("10.91.0.8", GW_ECHO_PORT, SOCK_STREAM);
	world_enter_gw(&g.w);
	gw_tcp_echo(fd, 1, "at first");
	world_run("ip addr del 10.91.0.8/24 dev gw0");
	qp_hostnet_process(g.h);
	world_run("ip addr add 10.91.0.8/24 dev gw0");
	/* The kernel has the address, we do not know: its answer would be a reset. */
	cr_assert_eq(send(fd, "x", 1, 0), 1);
	world_wait_for(gw_counter(&g, QP_CLS_gone_drop) > 0, {
		cr_assert(recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN,
			"reset, or closed");
	});
	qp_hostnet_process(g.h);
	cr_expect_eq(recv(fd, &byte, 1, 0), 1, "the retransmission is answered");
	close(fd);
	gw_close(&g);
}

Test(life, only_chosen_interfaces_get_the_classifier)
{
	struct qp_hostnet_config cfg;
	struct qp_hostnet *h;
	struct world w;

	world_open(&w);
	cfg = gw_config(&w);
	cfg.interfaces = (const char *[]) {"gw0"};
	cfg.ninterfaces = 1;
	h = gw_hostnet_open(&cfg);
	cr_expect(has_classifier("gw0"));
	cr_expect_not(has_classifier("lo"));
	qp_hostnet_close(h);
	world_close(&w);
}

Test(life, interface_that_is_no_host_port_is_no_worker)
{
	const uint8_t mac[6] = {2};
	struct qp_errmsg msg;
	struct gw g;

	gw_open(&g);
	cr_expect_eq(qp_hostnet_worker_add(g.h, 9, 0, if_nametoindex("gw0"), mac, &msg),
		QP_E_INVAL);
	cr_expect_eq(qp_hostnet_worker_add(g.h, 9, 0, 9999, mac, &msg), QP_E_INVAL);
	cr_expect_eq(qp_hostnet_worker_add(g.h, 9, 0, g.r.port->ifindex, mac, &msg), QP_E_INVAL,
		"another TAP of that index");
	gw_close(&g);
}
