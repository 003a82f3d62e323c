/* SPDX-License-Identifier: Apache-2.0 */
/* Which port a client gets: ranges, grants, leases, and ports that its old tunnel still holds. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/wire.h"
#include "controlplane/ports.h"
#include "controlplane/records.h"
#include "tests/controlplane/support.h"

#define FIRST 40000u
#define LAST 40009u

/* A host whose port 40005 is somebody else's, and which counts what it is asked. */
static struct {
	bool open[2][65536];
	unsigned moves;
	struct qp_origin moved_to;
	int move_err;
	bool takes_over; /* its workers are of this release */
} host;

static char dir[64];
static struct outbox box;
static struct qp_tunnels *tunnels;
static struct qp_ports *ports;
static struct qp_state *state;
static struct qp_leases *leases;
static uint64_t now = 1000000;
static bool takeover = true;
static struct qp_port_range granted[4];
static unsigned ngranted; /* 0: any port */
static const uint16_t own[] = {40002};
static const struct qp_port_range excluded[] = {{1, 40001, 40001}, {0, 100, 199}};

static uint64_t
clock_of_test(void)
{
	return now;
}

static uint32_t
always_first(uint32_t bound)
{
	(void)bound;
	return 0;
}

static bool *
is_open(int protocol, uint16_t port)
{
	return &host.open[protocol == IPPROTO_UDP][port];
}

static int
host_open(void *ctx, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_origin *worker, struct qp_errmsg *msg)
{
	(void)ctx, (void)addr, (void)worker;
	cr_assert_not(*is_open(protocol, port));
	if (port == 40005)
		return qp_fail(msg, QP_E_INUSE, "port 40005 is in use on this host");
	*is_open(protocol, port) = true;
	return 0;
}

static void
host_close(void *ctx, int protocol, uint16_t port)
{
	(void)ctx;
	cr_assert(*is_open(protocol, port));
	*is_open(protocol, port) = false;
}

static int
host_move(void *ctx, int protocol, uint16_t port, const struct qp_origin *worker)
{
	(void)ctx;
	cr_assert(*is_open(protocol, port));
	host.moves++;
	host.moved_to = *worker;
	return host.move_err;
}

static bool
host_takes_over(void *ctx, const struct qp_origin *worker)
{
	(void)ctx, (void)worker;
	return host.takes_over;
}

static int
rights(void *ctx, const struct qp_tunnel *tun, struct qp_port_rights *out, struct qp_errmsg *msg)
{
	static struct qp_grants grants;

	(void)ctx;
	grants = (struct qp_grants) {.nports = ngranted, .ports = granted};
	*out = (struct qp_port_rights) {.client = tun->identity.name,
		.grants = ngranted > 0 ? &grants : NULL,
		.takeover = takeover};
	if (strcmp(tun->identity.name, "expired") == 0)
		return qp_fail(msg, QP_E_PERM, "'expired' may do nothing any more");
	return 0;
}

static void
begin(void)
{
	cr_assert_eq(qp_state_open(&(struct qp_state_config) {dir, "gateway"}, &state, NULL), 0);
	cr_assert_eq(qp_leases_new(&(struct qp_leases_config) {.state = state,
					   .lease_time_s = 100,
					   .unix_time = clock_of_test},
			     &leases, NULL), 0);
	tunnels = qp_tunnels_new();
	ports = qp_ports_new(&(struct qp_ports_config) {.tunnels = tunnels,
		.sender = outbox_sender(&box),
		.host = {.open = host_open,
			.close = host_close,
			.move = host_move,
			.takes_over = host_takes_over},
		.reserved_tcp = own,
		.nreserved_tcp = 1,
		.any_first = FIRST,
		.any_last = LAST,
		.excluded = excluded,
		.nexcluded = 2,
		.rights = rights,
		.leases = leases,
		.unix_time = clock_of_test,
		.random = always_first});
}

static void
end(void)
{
	qp_ports_free(ports);
	qp_tunnels_free(tunnels);
	qp_leases_free(leases);
	qp_state_close(state);
	for (unsigned i = 0; i < 65536; i++)
		cr_assert_not(host.open[0][i] || host.open[1][i], "port %u is left open", i);
}

static void
enter(void)
{
	strcpy(dir, "/tmp/qp-choice-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	begin();
}

static void
leave(void)
{
	char file[512];
	struct dirent *e;
	DIR *d;

	end();
	d = opendir(dir);
	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(file, sizeof(file), "%s/%s", dir, e->d_name);
		unlink(file);
	}
	closedir(d);
	rmdir(dir);
}

TestSuite(port_choice, .init = enter, .fini = leave);

/* A tunnel of a client; its id tells worker (id / 100) and the rest. */
static struct qp_origin
tunnel(uint64_t id, const char *client)
{
	struct qp_origin o = {.server_id = 1000, .worker = (uint16_t)(id / 100), .id = id};
	struct qp_tunnel *tun = qp_tunnels_find(tunnels, &o);

	if (tun == NULL) {
		tun = qp_tunnels_add(tunnels, &o, 0);
		qp_tunnels_authenticated(tunnels, tun);
		tun->identity.method = QP_AUTH_X25519;
		strcpy(tun->identity.name, client);
	}
	return o;
}

static const struct qp_msg_forward_answer *
ask(uint64_t id, const char *client, uint16_t port, const char *destination, uint16_t answer)
{
	struct qp_origin from = tunnel(id, client);
	struct qp_msg m = {.forward = {.port = port, .protocol = QP_WIRE_TCP}};

	box.n = 0;
	m.forward.destination_len = (uint16_t)strlen(destination);
	memcpy(m.forward.destination, destination, strlen(destination));
	qp_ports_request(ports, &from, &m);
	return &outbox_last(&box, answer)->forward_answer;
}

static uint16_t
granted_port(uint64_t id, const char *client, uint16_t port)
{
	return ask(id, client, port, "127.0.0.1:22", QP_MSG_FORWARD_GRANT)->port;
}

static uint8_t
denied(uint64_t id, const char *client, uint16_t port, const char *why)
{
	const struct qp_msg_forward_answer *a =
		ask(id, client, port, "127.0.0.1:22", QP_MSG_FORWARD_DENY);

	cr_expect(strncmp(a->message, why, strlen(why)) == 0, "%.*s", a->message_len, a->message);
	return a->status;
}

static void
ended(uint64_t id)
{
	struct qp_origin o = {.server_id = 1000, .worker = (uint16_t)(id / 100), .id = id};
	struct qp_tunnel *tun = qp_tunnels_find(tunnels, &o);

	qp_ports_drop_tunnel(ports, tun, "test", NULL);
	qp_tunnels_remove(tunnels, tun);
}

Test(port_choice, zero_skips_what_is_not_to_be_had)
{
	/* 40001 is reserved, 40002 the gateway's, 40005 the host's. */
	takeover = false;
	static const uint16_t want[] = {40000, 40003, 40004, 40006, 40007, 40008, 40009};

	for (unsigned i = 0; i < 7; i++)
		cr_expect_eq(granted_port(i + 1, "alice", 0), want[i], "not %u", want[i]);
	cr_expect_eq(denied(9, "alice", 0, "none of the 8 tcp ports between 40000 and 40009 is free"),
		QP_WIRE_PORT_IN_USE);
	ended(3);
	cr_expect_eq(granted_port(10, "alice", 0), 40004);
}

Test(port_choice, reserved_port_is_denied_to_everybody)
{
	cr_expect_eq(denied(1, "alice", 40001, "port 40001/tcp is reserved by the gateway's operator"),
		QP_WIRE_PERMISSION_DENIED);
	cr_expect_eq(denied(2, "alice", 150, "port 150/tcp is reserved"), QP_WIRE_PERMISSION_DENIED);
	cr_expect_eq(denied(3, "alice", 40002, "port 40002/tcp is the gateway's own"),
		QP_WIRE_PORT_IN_USE);
	cr_expect_eq(granted_port(4, "alice", 200), 200);
}

Test(port_choice, grants_decide_on_fixed_ports_and_on_zero)
{
	granted[0] = (struct qp_port_range) {1, 40007, 40008};
	granted[1] = (struct qp_port_range) {2, 9000, 9000};
	ngranted = 2;
	takeover = false;
	cr_expect_eq(denied(1, "alice", 9000, "the gateway's policy does not give 'alice' port 9000/tcp"),
		QP_WIRE_PERMISSION_DENIED);
	cr_expect_eq(granted_port(2, "alice", 40008), 40008);
	cr_expect_eq(granted_port(3, "alice", 0), 40007);
	cr_expect_eq(denied(4, "alice", 0, "none of the 2 tcp ports"), QP_WIRE_PORT_IN_USE);
}

Test(port_choice, grants_outside_the_range_are_used_for_zero)
{
	granted[0] = (struct qp_port_range) {0, 9000, 9001};
	ngranted = 1;
	takeover = false;
	cr_expect_eq(granted_port(1, "alice", 0), 9000);
	cr_expect_eq(granted_port(2, "alice", 0), 9001);
	cr_expect_eq(denied(3, "alice", 0, "none of the 2 tcp ports"), QP_WIRE_PORT_IN_USE);
}

Test(port_choice, no_granted_port_is_a_matter_of_permission)
{
	granted[0] = (struct qp_port_range) {2, 1, 65535};
	ngranted = 1;
	cr_expect_eq(denied(1, "alice", 0, "the gateway's policy gives 'alice' no tcp port"),
		QP_WIRE_PERMISSION_DENIED);
	granted[0] = (struct qp_port_range) {0, 100, 199}; /* all reserved */
	cr_expect_eq(denied(2, "alice", 0, "the gateway's policy gives 'alice' no tcp port"),
		QP_WIRE_PERMISSION_DENIED);
}

Test(port_choice, client_without_rights_gets_the_policys_words)
{
	cr_expect_eq(denied(1, "expired", 0, "'expired' may do nothing any more"),
		QP_WIRE_PERMISSION_DENIED);
}

Test(port_choice, leased_port_comes_back_and_is_nobody_elses_zero)
{
	cr_expect_eq(granted_port(1, "alice", 0), 40000);
	ended(1);
	cr_expect_eq(granted_port(2, "bob", 0), 40003, "alice's is spared");
	cr_expect_eq(granted_port(3, "alice", 0), 40000);
	cr_expect_eq(ask(4, "alice", 0, "127.0.0.1:80", QP_MSG_FORWARD_GRANT)->port, 40004);
	ended(3);
	ended(4);
	ended(2);
	end();
	begin(); /* the gateway starts again */
	cr_expect_eq(ask(5, "alice", 0, "127.0.0.1:80", QP_MSG_FORWARD_GRANT)->port, 40004);
	cr_expect_eq(granted_port(6, "bob", 0), 40003);
	cr_expect_eq(granted_port(7, "alice", 0), 40000);
}

Test(port_choice, lease_gives_way_to_a_fixed_port_and_to_need)
{
	char name[16];

	cr_expect_eq(granted_port(1, "alice", 0), 40000);
	ended(1);
	cr_expect_eq(granted_port(2, "bob", 40000), 40000, "by its number");
	cr_expect_eq(granted_port(3, "alice", 0), 40003, "hers is in use");
	ended(2);
	ended(3);
	cr_expect_eq(granted_port(4, "alice", 0), 40003, "used last");
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "client%u", i);
		granted_port(10 + i, name, 0);
	}
	/* The last of these had only alice's 40000 left. */
	cr_expect_str_eq(qp_leases_client(leases, IPPROTO_TCP, 40000), "client5");
}

Test(port_choice, lease_outside_the_grants_is_not_given_back)
{
	cr_expect_eq(granted_port(1, "alice", 0), 40000);
	ended(1);
	granted[0] = (struct qp_port_range) {0, 40008, 40009};
	ngranted = 1;
	cr_expect_eq(granted_port(2, "alice", 0), 40008);
}

/* Workers of the release before close the port first. */
Test(port_choice, new_tunnel_takes_its_clients_port_over)
{
	const struct qp_msg *bye;

	granted_port(1, "alice", 9000);
	cr_expect_eq(granted_port(2, "alice", 9000), 9000);
	cr_assert_eq(box.n, 2u);
	bye = &box.sent[0].m;
	cr_expect_eq(bye->type, QP_MSG_TUNNEL_CLOSE, "before the grant");
	cr_expect_eq(box.sent[0].to.id, 1u);
	cr_expect_str_eq(bye->tunnel_close.phrase, "a new tunnel of 'alice' has taken its port over");
	cr_expect_eq(box.sent[1].to.id, 2u);
	cr_expect_eq(host.moves, 0u, "one worker has both");
	/* The old one's data plane says so, late: the port is not its any more. */
	qp_ports_closed(ports, &(struct qp_origin) {1000, 0, 1},
		&(struct qp_msg) {.forward_closed = {.port = 9000, .protocol = QP_WIRE_TCP}});
	ended(1);
	cr_expect_eq(qp_ports_find(ports, IPPROTO_TCP, 9000)->tunnel->origin.id, 2u);
	ended(2);
	cr_expect_eq(qp_ports_count(ports), 0u);
}

Test(port_choice, port_is_moved_to_another_worker)
{
	granted_port(1, "alice", 9000);
	granted_port(201, "alice", 9000);
	cr_expect_eq(host.moves, 1u);
	cr_expect_eq(host.moved_to.worker, 2);
	host.move_err = QP_E_IO;
	cr_expect_eq(denied(301, "alice", 9000, "port 9000 cannot be moved"), QP_WIRE_INTERNAL_ERROR);
	cr_expect_eq(qp_ports_find(ports, IPPROTO_TCP, 9000)->tunnel->origin.id, 201u);
}

Test(port_choice, worker_that_has_both_hands_the_port_over_by_the_grant)
{
	host.takes_over = true;
	granted_port(1, "alice", 9000);
	cr_expect_eq(box.sent[0].m.forward_answer.takes_from, 0u);
	cr_expect_eq(granted_port(2, "alice", 9000), 9000);
	cr_assert_eq(box.n, 1u, "the worker ends the old tunnel by itself");
	cr_expect_eq(box.sent[0].m.forward_answer.takes_from, 1u);
	cr_expect_eq(box.sent[0].m.forward_answer.listen_only, 0u);
	cr_expect_eq(host.moves, 0u);
	ended(1);
	cr_expect_eq(qp_ports_find(ports, IPPROTO_TCP, 9000)->tunnel->origin.id, 2u);
	/* The same of one that is asked for as 0. */
	granted_port(3, "alice", 0);
	granted_port(4, "alice", 0);
	cr_expect_eq(box.sent[0].m.forward_answer.takes_from, 3u);
}

static void
asks(uint64_t id, const char *client, uint16_t port)
{
	struct qp_origin from = tunnel(id, client);
	struct qp_msg m = {.forward = {.port = port, .protocol = QP_WIRE_TCP}};

	box.n = 0;
	qp_ports_request(ports, &from, &m);
}

static void
listens(uint64_t id, uint16_t port)
{
	struct qp_origin from = tunnel(id, "alice");
	struct qp_msg m = {.type = QP_MSG_FORWARD_LISTENS, .forward = {.port = port, .protocol = QP_WIRE_TCP}};

	box.n = 0;
	qp_ports_listens(ports, &from, &m);
}

static uint64_t
owner_of(uint16_t port)
{
	return qp_ports_find(ports, IPPROTO_TCP, port)->tunnel->origin.id;
}

Test(port_choice, other_worker_listens_before_the_port_moves_and_the_old_tunnel_ends_after)
{
	host.takes_over = true;
	granted_port(1, "alice", 9000);
	asks(201, "alice", 9000);
	cr_assert_eq(box.n, 1u);
	cr_expect_eq(box.sent[0].m.type, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(box.sent[0].m.forward_answer.listen_only, 1u);
	cr_expect_eq(box.sent[0].to.id, 201u);
	cr_expect_eq(host.moves, 0u);
	cr_expect_eq(owner_of(9000), 1u);
	listens(201, 9001);
	cr_expect_eq(box.n, 0u, "not that one");
	listens(201, 9000);
	cr_expect_eq(host.moves, 1u);
	cr_expect_eq(host.moved_to.worker, 2);
	cr_expect_eq(owner_of(9000), 201u);
	cr_assert_eq(box.n, 2u);
	cr_expect_eq(box.sent[0].m.type, QP_MSG_TUNNEL_CLOSE);
	cr_expect_eq(box.sent[0].to.id, 1u);
	cr_expect_eq(box.sent[0].m.tunnel_close.moved, 1u);
	cr_expect_eq(box.sent[1].m.type, QP_MSG_FORWARD_GRANT);
	cr_expect_eq(box.sent[1].m.forward_answer.listen_only, 0u);
	cr_expect_eq(strncmp(box.sent[1].m.forward_answer.message, "Listening on port 9000", 22), 0);
	listens(201, 9000);
	cr_expect_eq(box.n, 0u, "once");
	ended(1);
	cr_expect_eq(owner_of(9000), 201u);
}

Test(port_choice, heir_that_leaves_before_it_listens_leaves_the_port_where_it_is)
{
	host.takes_over = true;
	granted_port(1, "alice", 9000);
	asks(201, "alice", 9000);
	ended(201);
	cr_expect_eq(owner_of(9000), 1u);
	cr_expect_eq(host.moves, 0u);
	asks(202, "alice", 9000);
	listens(202, 9000);
	cr_expect_eq(owner_of(9000), 202u);
}

Test(port_choice, owner_that_leaves_before_the_heir_listens_leaves_it_the_port)
{
	host.takes_over = true;
	granted_port(1, "alice", 0);
	ask(201, "alice", 0, "127.0.0.1:22", QP_MSG_FORWARD_GRANT);
	cr_expect_eq(box.sent[0].m.forward_answer.listen_only, 1u);
	box.n = 0;
	ended(1);
	cr_expect_eq(outbox_last(&box, QP_MSG_FORWARD_GRANT)->forward_answer.listen_only, 0u);
	cr_assert_eq(box.n, 1u);
	cr_expect_eq(owner_of(40000), 201u);
	cr_expect_eq(host.moves, 1u);
	cr_expect_eq(qp_ports_count(ports), 1u);
	listens(201, 40000);
	cr_expect_eq(box.n, 0u, "it has it already");
	ended(201);
	cr_expect_str_eq(qp_leases_client(leases, IPPROTO_TCP, 40000), "alice", "and its lease");
}

Test(port_choice, third_tunnel_comes_before_the_second_listens)
{
	host.takes_over = true;
	granted_port(1, "alice", 9000);
	asks(201, "alice", 9000);
	asks(301, "alice", 9000);
	cr_assert_eq(box.n, 2u);
	cr_expect_eq(box.sent[0].m.type, QP_MSG_FORWARD_DENY);
	cr_expect_eq(box.sent[0].to.id, 201u);
	cr_expect_eq(box.sent[1].to.id, 301u);
	listens(201, 9000);
	cr_expect_eq(box.n, 0u);
	cr_expect_eq(owner_of(9000), 1u);
	/* A fourth, of the worker that has the port. */
	cr_expect_eq(granted_port(2, "alice", 9000), 9000);
	cr_assert_eq(box.n, 2u);
	cr_expect_eq(box.sent[0].to.id, 301u);
	cr_expect_eq(owner_of(9000), 2u);
}

Test(port_choice, port_that_cannot_be_moved_stays_and_the_heir_is_told)
{
	host.takes_over = true;
	granted_port(1, "alice", 9000);
	asks(201, "alice", 9000);
	host.move_err = QP_E_IO;
	listens(201, 9000);
	cr_assert_eq(box.n, 1u);
	cr_expect_eq(box.sent[0].m.type, QP_MSG_FORWARD_DENY);
	cr_expect_eq(strncmp(box.sent[0].m.forward_answer.message, "port 9000 cannot be moved", 25), 0);
	cr_expect_eq(owner_of(9000), 1u);
	asks(202, "alice", 9000);
	ended(1); /* and now nobody can have it */
	cr_expect_eq(outbox_last(&box, QP_MSG_FORWARD_DENY)->forward_answer.status,
		QP_WIRE_INTERNAL_ERROR);
	cr_expect_eq(qp_ports_count(ports), 0u);
}

Test(port_choice, port_is_not_taken_from_another_client)
{
	granted_port(1, "alice", 9000);
	cr_expect_eq(denied(2, "bob", 9000, "port 9000/tcp is taken by another tunnel"),
		QP_WIRE_PORT_IN_USE);
	takeover = false;
	cr_expect_eq(denied(3, "alice", 9000, "port 9000/tcp is taken by another tunnel"),
		QP_WIRE_PORT_IN_USE);
	takeover = true;
	cr_expect_eq(denied(1, "alice", 9000, "port 9000/tcp is taken"), QP_WIRE_PORT_IN_USE,
		"not from itself either");
}

Test(port_choice, two_programs_with_one_key_do_not_take_turns_for_ever)
{
	uint64_t id = 1;

	granted_port(id++, "alice", 9000);
	for (unsigned i = 0; i < QP_PORTS_TAKEOVERS; i++)
		granted_port(id++, "alice", 9000);
	cr_expect_eq(denied(id++, "alice", 9000,
			     "port 9000/tcp has gone from one tunnel of 'alice' to another 5 times"),
		QP_WIRE_PORT_IN_USE);
	now += 40;
	denied(id++, "alice", 9000, "port 9000/tcp has gone");
	now += 40; /* it was tried just now */
	denied(id++, "alice", 9000, "port 9000/tcp has gone");
	now += 121;
	cr_expect_eq(granted_port(id++, "alice", 9000), 9000);
}

/* From another address: what its lease says of it. */
static void
moves(uint64_t id, const char *client, uint8_t last_octet)
{
	struct qp_origin o = tunnel(id, client);

	qp_tunnels_find(tunnels, &o)->peer_addr[15] = last_octet;
}

Test(port_choice, killed_client_that_asks_for_any_gets_its_port_at_once)
{
	cr_expect_eq(granted_port(1, "alice", 0), 40000);
	now++;
	cr_expect_eq(granted_port(2, "alice", 0), 40000);
	cr_expect_eq(box.sent[0].m.type, QP_MSG_TUNNEL_CLOSE);
	cr_expect_eq(box.sent[0].to.id, 1u);
	now++;
	/* From elsewhere, for something else, or somebody else: not the same. */
	moves(3, "alice", 9);
	cr_expect_eq(granted_port(3, "alice", 0), 40003);
	cr_expect_eq(ask(4, "alice", 0, "127.0.0.1:80", QP_MSG_FORWARD_GRANT)->port, 40004);
	cr_expect_eq(granted_port(5, "bob", 0), 40006);
	cr_expect_eq(qp_ports_find(ports, IPPROTO_TCP, 40000)->tunnel->origin.id, 2u);
	/* It is a lease as before. */
	ended(2);
	cr_expect_eq(granted_port(6, "alice", 0), 40000);
}

Test(port_choice, client_with_two_tunnels_on_purpose_keeps_both)
{
	takeover = false;
	cr_expect_eq(granted_port(1, "alice", 0), 40000);
	cr_expect_eq(granted_port(2, "alice", 0), 40003);
	takeover = true;
	cr_expect_eq(granted_port(3, "alice", 0), 40004, "which of the two is dead is not known");
	ended(3);
	now++;
	ended(1); /* says goodbye, and comes back */
	cr_expect_eq(granted_port(4, "alice", 0), 40000);
	cr_expect_eq(qp_ports_find(ports, IPPROTO_TCP, 40003)->tunnel->origin.id, 2u);
}

Test(port_choice, fight_for_any_port_ends_with_one_each)
{
	uint64_t id = 1;

	granted_port(id++, "alice", 0);
	for (unsigned i = 0; i < QP_PORTS_TAKEOVERS; i++) {
		now++;
		cr_expect_eq(granted_port(id++, "alice", 0), 40000);
	}
	cr_expect_eq(granted_port(id++, "alice", 0), 40003);
}

Test(port_choice, adopted_tunnel_has_its_port_and_lease)
{
	struct qp_msg_tunnel_state s = {.port = 40000, .protocol = QP_WIRE_TCP, .destination_len = 12};
	struct qp_origin o;

	takeover = false;
	memcpy(s.destination, "127.0.0.1:22", 12);
	cr_expect_eq(granted_port(1, "alice", 0), 40000);
	end();
	begin();
	o = tunnel(1, "alice");
	cr_expect_eq(qp_ports_adopt(ports, qp_tunnels_find(tunnels, &o), &s, NULL), 0);
	cr_expect(host.open[0][40000]);
	/* Killed before its lease was written down: 40007 has none. */
	s.port = 40007;
	o = tunnel(9, "carol");
	cr_expect_eq(qp_ports_adopt(ports, qp_tunnels_find(tunnels, &o), &s, NULL), 0);
	cr_expect_str_eq(qp_leases_client(leases, IPPROTO_TCP, 40007), "carol");
	s.port = 40000;
	o = tunnel(2, "bob");
	cr_expect_eq(qp_ports_adopt(ports, qp_tunnels_find(tunnels, &o), &s, NULL), QP_E_INUSE);
	cr_expect_eq(granted_port(3, "alice", 0), 40003, "the first is in use");
	ended(1);
	cr_expect_eq(granted_port(4, "alice", 0), 40000);
}
