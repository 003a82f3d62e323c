/* SPDX-License-Identifier: Apache-2.0 */
/* What the control plane writes into nic mode's shared block, at its own pace and after a predecessor's end. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/nic_block.h"
#include "controlplane/nicnet.h"

static struct qp_nic *zone;

static const void *
find_zone(const char *name, size_t *bytes)
{
	*bytes = strcmp(name, QP_NIC_ZONE) == 0 && zone != NULL ? sizeof(*zone) : 0;
	return *bytes > 0 ? zone : NULL;
}

static void
make_zone(void)
{
	zone = aligned_alloc(64, sizeof(*zone));
	cr_assert_not_null(zone);
	memset(zone, 0, sizeof(*zone));
	zone->magic = QP_NIC_MAGIC;
	zone->version = QP_NIC_VERSION;
	zone->nports = 1;
	zone->nqueues = 2;
	zone->port[0] = (struct qp_nic_port) {.name = "net_tap0", .nrx = 2, .ntx = 8, .mtu = 1500, .nslots = QP_NIC_MAX_GENS};
}

static void
free_zone(void)
{
	free(zone);
	zone = NULL;
}

TestSuite(nicnet, .init = make_zone, .fini = free_zone);

static struct qp_nic_options
options(void)
{
	struct qp_nic_options o = {.ports = {.n = 1, .v = {"net_tap0"}}, .naddrs = 1};

	o.addr[0] = (struct qp_nic_addr) {.prefix = 120};
	o.addr[0].addr.s6_addr[10] = o.addr[0].addr.s6_addr[11] = 0xff;
	memcpy(o.addr[0].addr.s6_addr + 12, "\xc0\x00\x02\x01", 4);
	return o;
}

static struct qp_nicnet *
fresh(void)
{
	const struct qp_nic_options o = options();
	struct qp_nicnet *n = qp_nicnet_new(&(struct qp_nicnet_config) {
		.options = &o, .quic_port = 39000, .public_port = 39001, .zone = find_zone});

	cr_assert_not_null(n);
	return n;
}

static struct qp_nicnet *
attached(void)
{
	struct qp_nicnet *n = fresh();
	struct qp_errmsg msg;

	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), 0, "%s", msg.text);
	return n;
}

static int
add(struct qp_nicnet *n, uint32_t server_id, struct qp_errmsg *msg)
{
	return qp_nicnet_ops.generation_add(n, &(struct qp_network_generation) {
		.server_id = server_id, .nworkers = 2, .handoff = 0x1000 * server_id,
		.handoff_bytes = 8192}, msg);
}

static int
open_port(struct qp_nicnet *n, uint16_t port, uint32_t server_id, uint8_t worker)
{
	struct qp_errmsg msg;

	return qp_nicnet_ops.port_open(n, IPPROTO_TCP, port, NULL,
		&(struct qp_network_worker) {.server_id = server_id, .worker = worker}, &msg);
}

Test(nicnet, attach_publishes_addresses_and_ports_of_the_gateway)
{
	struct qp_nicnet *n = attached();

	cr_expect_eq(zone->net.seq % 2, 0u);
	cr_expect_eq(zone->net.naddrs, 1u);
	cr_expect_eq(zone->net.nroutes, 1u, "the network of the address");
	cr_expect(zone->quic_port == 39000 && zone->public_port == 39001);
	qp_nicnet_ops.close(n);
}

Test(nicnet, zone_of_another_kind_is_refused_with_the_way_out)
{
	struct qp_nicnet *n = fresh();
	struct qp_errmsg msg;

	zone->version++;
	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), QP_E_VERSION);
	cr_expect(strstr(msg.text, "start it anew") != NULL, "%s", msg.text);
	zone->version--;
	zone->nports = 3;
	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), QP_E_INVAL);
	cr_expect(strstr(msg.text, "--port: 1 given, and the port owner that runs has 3") != NULL, "%s", msg.text);
	zone->nports = 1;
	zone->port[0].mtu = 1400;
	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), QP_E_INVAL);
	cr_expect(strstr(msg.text, "--mtu 1500@0") != NULL, "%s", msg.text);
	free_zone();
	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), QP_E_NOTFOUND);
	cr_expect(strstr(msg.text, "--port") != NULL, "%s", msg.text);
	qp_nicnet_ops.close(n);
}

Test(nicnet, each_generation_has_a_slot_and_one_too_many_is_refused)
{
	struct qp_nicnet *n = attached();
	struct qp_errmsg msg;
	bool slot[QP_NIC_MAX_GENS] = {false};

	for (uint32_t id = 300; id < 300 + QP_NIC_MAX_GENS; id++) {
		cr_assert_eq(qp_nicnet_ops.room(n, 2, &msg), 0);
		cr_assert_eq(add(n, id, &msg), 0, "%s", msg.text);
	}
	for (unsigned i = 0; i < QP_NIC_MAX_GENS; i++) {
		cr_expect_eq(zone->gen[i].slot, i);
		cr_expect_not(slot[zone->gen[i].slot]);
		slot[zone->gen[i].slot] = true;
	}
	cr_assert_eq(add(n, 301, &msg), 0, "who attaches again keeps its own");
	cr_assert_eq(qp_nicnet_ops.room(n, 2, &msg), QP_E_FULL);
	cr_expect(strstr(msg.text, "shutdown-data-plane") != NULL, "%s", msg.text);
	cr_assert_eq(add(n, 999, &msg), QP_E_FULL);
	qp_nicnet_ops.generation_remove(n, 302);
	cr_assert_eq(qp_nicnet_ops.room(n, 2, &msg), QP_E_FULL, "its memory is still there");
	qp_nicnet_ops.generation_freed(n, 302);
	cr_assert_eq(add(n, 999, &msg), 0, "%s", msg.text);
	cr_expect_eq(zone->gen[2].server_id, 999u);
	qp_nicnet_ops.close(n);
}

Test(nicnet, device_with_few_queues_has_few_slots)
{
	struct qp_nicnet *n = attached();
	struct qp_errmsg msg;

	zone->port[0].nslots = 2;
	cr_assert_eq(add(n, 300, &msg), 0);
	cr_assert_eq(add(n, 301, &msg), 0);
	cr_assert_eq(add(n, 302, &msg), QP_E_FULL);
	cr_expect(strstr(msg.text, "for 2 data planes") != NULL, "%s", msg.text);
	qp_nicnet_ops.close(n);
}

Test(nicnet, more_workers_than_queues_are_refused)
{
	struct qp_nicnet *n = attached();
	struct qp_errmsg msg;

	cr_assert_eq(qp_nicnet_ops.generation_add(n, &(struct qp_network_generation) {
		.server_id = 300, .nworkers = 3, .handoff = 64, .handoff_bytes = 64}, &msg), QP_E_FULL);
	cr_expect(strstr(msg.text, "--workers 2") != NULL, "%s", msg.text);
	cr_assert_eq(qp_nicnet_ops.generation_add(n, &(struct qp_network_generation) {
		.server_id = 300, .nworkers = 2}, &msg), QP_E_VERSION);
	qp_nicnet_ops.close(n);
}

Test(nicnet, death_leaves_no_ring_no_port_and_no_queue)
{
	struct qp_nicnet *n = attached();
	struct qp_errmsg msg;

	cr_assert_eq(add(n, 300, &msg), 0);
	cr_assert_eq(add(n, 400, &msg), 0);
	cr_assert_eq(qp_nicnet_ops.set_active(n, 300, 2), 0);
	cr_assert(zone->holder == 300 && zone->holder_workers == 2);
	cr_assert_eq(qp_nicnet_ops.set_active(n, 555, 2), QP_E_NOTFOUND);
	zone->queue[0][0].polled_by = 300;
	zone->queue[0][1].polled_by = 400;
	cr_assert_eq(open_port(n, 8080, 300, 1), 0);
	cr_assert_eq(open_port(n, 8081, 400, 0), 0);
	qp_nicnet_ops.generation_remove(n, 300);
	cr_expect(zone->queue[0][0].polled_by == 0 && zone->queue[0][1].polled_by == 400);
	cr_expect_eq(zone->owner[QP_NIC_TCP][8080], 0u);
	cr_expect_eq(zone->owner[QP_NIC_TCP][8081], QP_NIC_OWNER(400, 0));
	cr_expect(zone->gen[0].server_id == 300 && zone->gen[0].handoff == 0);
	cr_expect(zone->gen[1].server_id == 400 && zone->gen[1].handoff != 0);
	qp_nicnet_ops.close(n);
}

Test(nicnet, ports_have_one_owner_and_move)
{
	struct qp_nicnet *n = attached();
	struct qp_errmsg msg;
	const struct qp_network_worker w = {.server_id = 400, .worker = 1};
	const struct in6_addr own = options().addr[0].addr, other = {.s6_addr = {0x20, 1}};

	cr_assert_eq(add(n, 300, &msg), 0);
	cr_assert_eq(open_port(n, 8080, 300, 1), 0);
	cr_assert_eq(open_port(n, 8080, 300, 0), QP_E_INUSE);
	cr_assert_eq(open_port(n, 39001, 300, 0), QP_E_INUSE, "the public API's");
	cr_assert_eq(open_port(n, 39000, 300, 0), 0, "QUIC's is UDP");
	cr_assert_eq(qp_nicnet_ops.port_open(n, IPPROTO_UDP, 39000, NULL, &w, &msg), QP_E_INUSE);
	cr_assert_eq(qp_nicnet_ops.port_open(n, IPPROTO_UDP, 53, &own, &w, &msg), 0);
	cr_expect_eq(QP_NIC_OWNER_ADDR(zone->owner[QP_NIC_UDP][53]), 1u);
	cr_assert_eq(qp_nicnet_ops.port_open(n, IPPROTO_UDP, 54, &other, &w, &msg), QP_E_INVAL);
	cr_assert_eq(qp_nicnet_ops.port_move(n, IPPROTO_TCP, 8080, &w), 0);
	cr_expect_eq(zone->owner[QP_NIC_TCP][8080], QP_NIC_OWNER(400, 1));
	cr_assert_eq(qp_nicnet_ops.port_move(n, IPPROTO_TCP, 1, &w), QP_E_NOTFOUND);
	qp_nicnet_ops.port_close(n, IPPROTO_TCP, 8080);
	cr_expect_eq(zone->owner[QP_NIC_TCP][8080], 0u);
	qp_nicnet_ops.close(n);
}

Test(nicnet, successor_keeps_what_is_claimed_and_drops_the_rest)
{
	struct qp_nicnet *n = attached();
	struct qp_errmsg msg;
	const struct qp_network_worker w = {.server_id = 300, .worker = 1};

	cr_assert_eq(add(n, 300, &msg), 0);
	cr_assert_eq(add(n, 400, &msg), 0);
	cr_assert_eq(qp_nicnet_ops.set_active(n, 300, 2), 0);
	cr_assert_eq(open_port(n, 8080, 300, 1), 0);
	cr_assert_eq(open_port(n, 8081, 300, 1), 0);
	qp_nicnet_ops.leave(n);

	n = attached();
	cr_assert_eq(add(n, 300, &msg), 0);
	cr_expect_eq(zone->gen[0].server_id, 300u);
	cr_assert_eq(qp_nicnet_ops.port_adopt(n, IPPROTO_TCP, 8080, NULL, &w, &msg), 0);
	cr_expect_eq(zone->owner[QP_NIC_TCP][8081], QP_NIC_OWNER(300, 1), "until all have told");
	qp_nicnet_ops.prune(n);
	cr_expect_eq(zone->owner[QP_NIC_TCP][8080], QP_NIC_OWNER(300, 1));
	cr_expect_eq(zone->owner[QP_NIC_TCP][8081], 0u);
	cr_expect_eq(zone->holder, 300u);
	qp_nicnet_ops.close(n);
}

Test(nicnet, blocked_networks_before_and_after_the_ports_are_there)
{
	struct qp_nicnet *n = fresh();
	struct qp_errmsg msg;
	struct qp_msg_network a = {.prefix = 128}, b = {.prefix = 64}, c = {.prefix = 32};
	struct in6_addr at = {.s6_addr = {0x20, 1}};

	memcpy(a.addr, &at, 16);
	memcpy(b.addr, &at, 16);
	memcpy(c.addr, &at, 16);
	cr_assert_eq(qp_nicnet_ops.block(n, &a, &msg), 0);
	/* A predecessor's, which has been taken away since. */
	cr_assert_eq(qp_nic_block_add(&zone->blocked, &at, 32), 0);
	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), 0);
	cr_expect(qp_nic_block_has(&zone->blocked, &at, 128));
	cr_expect_not(qp_nic_block_has(&zone->blocked, &at, 32));
	cr_assert_eq(qp_nicnet_ops.block(n, &b, &msg), 0);
	cr_expect(qp_nic_block_has(&zone->blocked, &at, 64));
	cr_assert_eq(qp_nicnet_ops.unblock(n, &b), 0);
	cr_assert_eq(qp_nicnet_ops.unblock(n, &c), QP_E_NOTFOUND);
	cr_expect_eq(zone->blocked.n, 1u);
	qp_nicnet_ops.close(n);
}

Test(nicnet, writer_that_died_in_the_middle_blocks_nobody_for_ever)
{
	struct qp_nicnet *n = fresh();
	struct qp_errmsg msg;

	zone->net.seq = 5;
	zone->blocked.seq = 9;
	zone->blocked.n = 3;
	zone->blocked.slot[77].bits = 12;
	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), 0);
	cr_expect(zone->net.seq % 2 == 0 && zone->blocked.seq % 2 == 0);
	cr_expect(zone->blocked.n == 0 && zone->blocked.slot[77].bits == 0);
	qp_nicnet_ops.close(n);
}

Test(nicnet, port_that_answers_on_one_address_follows_its_place)
{
	struct qp_nic_options o = options();
	struct qp_nicnet *n = qp_nicnet_new(&(struct qp_nicnet_config) {.options = &o,
		.forward_addr = o.addr[0].addr, .quic_port = 39000, .zone = find_zone});
	const struct in6_addr only = o.addr[0].addr;
	const struct qp_network_worker w = {.server_id = 300};
	struct qp_errmsg msg;

	cr_assert_eq(qp_nicnet_ops.attached(n, &msg), 0);
	cr_assert_eq(qp_nicnet_ops.port_open(n, IPPROTO_TCP, 80, &only, &w, &msg), 0);
	cr_assert_eq(qp_nicnet_ops.port_open(n, IPPROTO_TCP, 81, NULL, &w, &msg), 0);
	cr_expect_eq(QP_NIC_OWNER_ADDR(zone->owner[QP_NIC_TCP][80]), 1u);
	/* Another address before it. */
	o.addr[1] = o.addr[0];
	o.addr[0].addr.s6_addr[15] = 99;
	o.naddrs = 2;
	cr_assert_eq(qp_nicnet_may_change(n, &o, &msg), 0, "%s", msg.text);
	qp_nicnet_change(n, &o);
	cr_expect_eq(QP_NIC_OWNER_ADDR(zone->owner[QP_NIC_TCP][80]), 2u);
	cr_expect_eq(QP_NIC_OWNER_SERVER(zone->owner[QP_NIC_TCP][80]), 300u);
	cr_expect_eq(QP_NIC_OWNER_ADDR(zone->owner[QP_NIC_TCP][81]), 0u);
	o.naddrs = 1;
	cr_assert_eq(qp_nicnet_may_change(n, &o, &msg), QP_E_INVAL);
	cr_expect(strstr(msg.text, "--forward-addr 192.0.2.1") != NULL, "%s", msg.text);
	qp_nicnet_ops.close(n);
}

Test(nicnet, addresses_change_while_it_runs_but_no_mtu_beyond_the_ports)
{
	struct qp_nicnet *n = attached();
	struct qp_nic_options o = options();
	struct qp_errmsg msg;
	const uint32_t seq = zone->net.seq;

	qp_nicnet_change(n, &o);
	cr_expect_eq(zone->net.seq, seq, "nothing has changed");
	o.addr[0].addr.s6_addr[15] = 9;
	cr_assert_eq(qp_nicnet_may_change(n, &o, &msg), 0);
	qp_nicnet_change(n, &o);
	cr_expect_eq(zone->net.seq, seq + 2);
	cr_expect_eq(zone->net.addr[0].addr.s6_addr[15], 9);
	o.mtu[0] = (struct qp_nic_value) {.value = 9000, .port = QP_NIC_ANY_PORT};
	o.nmtus = 1;
	cr_assert_eq(qp_nicnet_may_change(n, &o, &msg), QP_E_INVAL);
	cr_expect(strstr(msg.text, "--mtu 9000") != NULL && strstr(msg.text, "1500") != NULL, "%s",
		msg.text);
	qp_nicnet_ops.close(n);
}
