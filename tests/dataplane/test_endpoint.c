/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QUIC endpoint against a real client and against raw datagrams: handshake,
 * what is answered without a connection, paths, keys, timeouts, limits.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/heap.h"
#include "common/wire.h"
#include "dataplane/quic/cid.h"
#include "dataplane/quic/internal.h"
#include "tests/dataplane/client.h"
#include "tests/dataplane/outside.h"
#include "tests/dataplane/world.h"

#define PORT 50000
#define RESET_TOKEN_BYTES 16u

static struct world *w;
static struct world_config cfg;

static void
start(void)
{
	w = world_new(&cfg);
}

static void
setup(void)
{
	world_init();
	world_config_default(&cfg);
}

static void
teardown(void)
{
	if (w != NULL)
		world_free(w);
}

TestSuite(endpoint, .init = setup, .fini = teardown, .timeout = 120);

static struct client *
connected(uint16_t port)
{
	struct client *c = client_new(w, port, NULL);

	cr_assert(world_until(w, 5 * WORLD_S, c->handshake_done && c->confirmed));
	return c;
}

/* The handshake. */

Test(endpoint, client_connects_handshake_completes)
{
	struct client *c;

	start();
	c = connected(PORT);
	world_run(w, WORLD_S);
	cr_assert_not(c->over);
	cr_assert_eq(w->counters.quic_handshakes, 1);
	cr_assert_eq(w->counters.quic_connections, 1);
	cr_assert_eq(w->counters.quic_handshakes_failed, 0);
	cr_assert_eq(w->counters.quic_retries_sent, 0);
}

Test(endpoint, client_connects_over_ipv6_tunnel_opens)
{
	struct client_config ccfg;
	const struct qp_msg *begin;
	struct client *c;

	client_config_default(&ccfg);
	ccfg.ipv6 = true;
	start();
	c = client_new(w, PORT, &ccfg);
	cr_assert_not_null(client_forward(c, 9022));
	begin = cp_find(w, QP_MSG_AUTH_BEGIN, 0);
	cr_assert_arr_eq(begin->auth_begin.peer_addr, c->flow.remote.b, 16);
}

Test(endpoint, foreign_alpn_is_refused_by_alert)
{
	struct client_config ccfg;
	struct client *c;

	client_config_default(&ccfg);
	ccfg.alpn = "h3";
	start();
	c = client_new(w, PORT, &ccfg);
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert_eq(
		c->code, NGTCP2_CRYPTO_ERROR | 120, "no_application_protocol, not %lx", c->code);
	cr_assert_eq(w->counters.quic_handshakes, 0);
	cr_assert_eq(w->counters.quic_handshakes_failed, 1);
	cr_assert(world_until(w, 10 * WORLD_S, w->counters.quic_connections == 0));
}

Test(endpoint, client_vanishes_in_handshake_connection_is_given_up)
{
	struct client *c;

	start();
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, w->counters.quic_connections == 1));
	c->gone = true;
	cr_assert(world_until(w, 11 * WORLD_S, w->counters.quic_connections == 0));
	cr_assert_eq(w->counters.quic_handshakes_failed, 1);
}

Test(endpoint, limit_reached_client_is_refused)
{
	struct client *c;

	cfg.quic.max_conns = 1;
	start();
	connected(PORT);
	c = client_new(w, PORT + 1, NULL);
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert_eq(c->code, NGTCP2_CONNECTION_REFUSED);
	cr_assert_eq(w->counters.quic_connections, 1);
	cr_assert_geq(w->counters.drop_quic_limit, 1);
}

Test(endpoint, heap_budget_reached_client_is_refused_and_the_others_go_on)
{
	const int64_t most = 1000 << 20; /* far above what the test has itself */
	struct client *old, *c;

	start();
	old = connected(PORT);
	qp_heap_set_budget(most);
	qp_heap_count(most - most / 8);
	c = client_new(w, PORT + 1, NULL);
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert_eq(c->code, NGTCP2_CONNECTION_REFUSED);
	cr_assert_geq(w->counters.drop_quic_budget, 1);
	cr_assert_eq(w->counters.quic_connections, 1);
	cr_assert_not(old->over);
	qp_heap_count(-(most - most / 8));
	connected(PORT + 2);
	qp_heap_set_budget(0);
}

Test(endpoint, draining_keeps_its_clients_and_is_silent_to_new_ones)
{
	struct client *old, *c;

	start();
	old = connected(PORT);
	qp_quic_drain(w->quic);
	world_run(w, QP_QUIC_LATE_NS);
	qp_quic_drain(w->quic); /* again: nothing begins anew */
	c = client_new(w, PORT + 1, NULL);
	cr_assert_not(world_until(w, 2 * WORLD_S, c->over || c->handshake_done));
	cr_assert_geq(w->counters.drop_quic_limit, 1);
	cr_assert_eq(w->counters.quic_connections, 1);
	cr_assert_not(old->over);
}

Test(endpoint, draining_takes_those_that_were_on_their_way)
{
	struct client *c;

	start();
	qp_quic_drain(w->quic);
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S / 2, c->handshake_done), "it had to send again");
	cr_assert_eq(w->counters.drop_quic_limit, 0);
}

static void
take_all_descriptors(void)
{
	const struct rlimit few = {.rlim_cur = 256, .rlim_max = 256};

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (open("/", O_PATH | O_CLOEXEC) >= 0)
		;
}

Test(endpoint, descriptors_have_run_out_clients_still_come_in)
{
	start();
	take_all_descriptors();
	for (unsigned i = 0; i < 4; i++)
		connected((uint16_t)(PORT + i));
	cr_assert_eq(w->counters.quic_connections, 4);
}

/* It sends again, and its packet finds the successor, which has room. */
static void
is_silent_to_those_that_come(void)
{
	struct client *c;

	qp_quic_drain(w->quic);
	c = client_new(w, PORT + 1, NULL);
	cr_assert_not(world_until(w, 2 * WORLD_S, c->over || c->handshake_done));
}

Test(endpoint, draining_and_full_refuses_nobody)
{
	cfg.quic.max_conns = 1;
	start();
	connected(PORT);
	is_silent_to_those_that_come();
	cr_assert_geq(w->counters.drop_quic_limit, 1);
}

Test(endpoint, draining_beyond_its_heap_budget_refuses_nobody)
{
	const int64_t most = 1000 << 20;

	start();
	qp_heap_set_budget(most);
	qp_heap_count(most);
	is_silent_to_those_that_come();
	cr_assert_geq(w->counters.drop_quic_budget, 1);
	qp_heap_count(-most);
	qp_heap_set_budget(0);
}

Test(endpoint, many_clients_all_connect)
{
	struct client *c[64];
	unsigned done = 0;

	start();
	for (unsigned i = 0; i < 64; i++)
		c[i] = client_new(w, (uint16_t)(PORT + i), NULL);
	world_run(w, 2 * WORLD_S);
	for (unsigned i = 0; i < 64; i++)
		done += c[i]->handshake_done;
	cr_assert_eq(done, 64);
	cr_assert_eq(w->counters.quic_connections, 64);
}

/* Version negotiation: RFC 9000, 6. */

static size_t
long_header(uint8_t *buf, size_t len, uint32_t version)
{
	memset(buf, 0, len);
	buf[0] = 0xc0;
	qp_put_u32(buf + 1, version);
	buf[5] = 8;
	memcpy(buf + 6, "destcid8", 8);
	buf[14] = 5;
	memcpy(buf + 15, "srcid", 5);
	return len;
}

Test(endpoint, unknown_version_is_answered_with_ours)
{
	static const uint8_t want_cids[] = "\x05srcid\x08"
					   "destcid8";
	struct qp_flow from = world_flow(PORT);
	struct world_packet *p;
	uint8_t buf[1200];
	bool one = false;

	start();
	world_send(w, &from, 0, buf, long_header(buf, sizeof(buf), 0xff00abcd));
	world_run(w, 50 * WORLD_MS);
	p = world_take_stray(w);
	cr_assert_not_null(p);
	cr_assert_eq(p->data[0] & 0x80, 0x80);
	cr_assert_eq(qp_get_u32(p->data + 1), 0);
	cr_assert_arr_eq(p->data + 5, want_cids, sizeof(want_cids) - 1);
	for (size_t i = 20; i + 4 <= p->len; i += 4)
		one |= qp_get_u32(p->data + i) == 1;
	cr_assert(one, "version 1 is offered");
	free(p);
	cr_assert_null(world_take_stray(w));
	cr_assert_eq(w->counters.quic_version_negotiations, 1);
	cr_assert_eq(w->counters.quic_connections, 0);
}

Test(endpoint, unknown_version_in_short_datagram_gets_no_answer)
{
	struct qp_flow from = world_flow(PORT);
	uint8_t buf[1199];

	start();
	world_send(w, &from, 0, buf, long_header(buf, sizeof(buf), 0xff00abcd));
	world_run(w, 50 * WORLD_MS);
	cr_assert_null(world_take_stray(w));
	cr_assert_eq(w->counters.drop_quic_bad, 1);
}

/* RFC 8999, 5.1: ids of other versions may be 255 bytes long. */
Test(endpoint, unknown_version_with_longest_ids_is_answered)
{
	struct qp_flow from = world_flow(PORT);
	struct world_packet *p;
	uint8_t buf[1200] = {0xc0, 0xff, 0, 0xab, 0xcd};

	buf[5] = 255;
	buf[6 + 255] = 255;
	start();
	world_send(w, &from, 0, buf, sizeof(buf));
	world_run(w, 50 * WORLD_MS);
	p = world_take_stray(w);
	cr_assert_not_null(p);
	cr_assert_eq(p->data[5], 255);
	free(p);
}

/* Retry: RFC 9000, 8.1.2. */

static size_t
varint(const uint8_t *p, uint64_t *v)
{
	size_t len = (size_t)1 << (p[0] >> 6);

	*v = p[0] & 0x3f;
	for (size_t i = 1; i < len; i++)
		*v = *v << 8 | p[i];
	return len;
}

/* Spoils one byte of an Initial's token. */
static void
forge_token(void *ctx, uint8_t *data, size_t len)
{
	size_t off = 5;
	uint64_t token;

	if ((data[0] & 0xf0) != 0xc0)
		return;
	off += 1u + data[off];
	off += 1u + data[off];
	off += varint(data + off, &token);
	if (token > 0)
		data[off + token - 1] ^= 1;
}

Test(endpoint, many_handshakes_retry_is_demanded_and_good_token_let_in)
{
	cfg.quic.retry_above = 0;
	start();
	connected(PORT);
	cr_assert_eq(w->counters.quic_retries_sent, 1);
	cr_assert_eq(w->counters.quic_handshakes, 1);
}

/* With it, a stranger would be among the established ones (common/classifier.h). */
Test(endpoint, first_packet_with_an_id_of_ours_is_not_let_in)
{
	struct qp_flow from = world_flow(PORT);
	struct world_packet *p;
	uint8_t buf[1200];
	ngtcp2_cid ours;

	cfg.quic.retry_above = 0;
	start();
	long_header(buf, sizeof(buf), NGTCP2_PROTO_VER_V1);
	memcpy(buf + 21, "\x44\x9a", 2); /* no token; 1,178 bytes follow */
	world_send(w, &from, 0, buf, sizeof(buf));
	world_run(w, 50 * WORLD_MS);
	p = world_take_stray(w);
	cr_assert_not_null(p, "an id that it made up is answered");
	free(p);
	qp_cid_make(&ours, cfg.quic.server_id, cfg.quic.lcore);
	memcpy(buf + 6, ours.data, ours.datalen);
	world_send(w, &from, 0, buf, sizeof(buf));
	world_run(w, 50 * WORLD_MS);
	cr_assert_null(world_take_stray(w));
	cr_assert_eq(w->counters.quic_retries_sent, 1);
	cr_assert_eq(w->counters.drop_not_ours, 1);
}

Test(endpoint, retry_demanded_no_state_is_kept)
{
	struct client *c;

	cfg.quic.retry_above = 0;
	start();
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, w->counters.quic_retries_sent == 1));
	cr_assert_eq(w->counters.quic_connections, 0);
	c->gone = true;
}

Test(endpoint, forged_token_is_refused)
{
	struct client *c;

	cfg.quic.retry_above = 0;
	start();
	w->net.tap = forge_token;
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert_eq(c->code, NGTCP2_INVALID_TOKEN);
	cr_assert_eq(w->counters.quic_connections, 0);
}

Test(endpoint, token_from_another_address_is_refused)
{
	struct client *c;

	cfg.quic.retry_above = 0;
	start();
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, w->counters.quic_retries_sent == 1));
	w->net.loss = 1000;
	world_run(w, 10 * WORLD_MS); /* the token has come; what it was sent with is lost */
	w->net.loss = 0;
	c->flow.remote.b[15]++;
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert_eq(c->code, NGTCP2_INVALID_TOKEN);
}

Test(endpoint, expired_token_is_refused)
{
	struct client *c;

	cfg.quic.retry_above = 0;
	start();
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, WORLD_S, w->counters.quic_retries_sent == 1));
	w->net.hold = true;
	world_run(w, 10100 * WORLD_MS);
	world_let_go(w);
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert_eq(c->code, NGTCP2_INVALID_TOKEN);
}

/* Stateless reset: RFC 9000, 10.3. */

struct reset_row {
	size_t in, least, most; /* 0: no answer */
};

ParameterizedTestParameters(endpoint, unknown_short_packet_is_reset_by_something_shorter)
{
	static struct reset_row rows[] = {
		{9, 0, 0},
		{20, 0, 0},
		{21, 0, 0},
		{22, 21, 21},
		{40, 21, 39},
		{41, 21, 40},
		{43, 21, 42},
		{1200, 21, 43},
		{1472, 21, 43},
	};

	return cr_make_param_array(struct reset_row, rows, sizeof(rows) / sizeof(rows[0]));
}

static void
send_short(struct qp_flow *from, const char cid[9], size_t len)
{
	uint8_t buf[1472];

	randombytes_buf(buf, sizeof(buf));
	buf[0] = 0x40 | (buf[0] & 0x3f);
	memcpy(buf + 1, cid, 8);
	world_send(w, from, 0, buf, len);
}

ParameterizedTest(
	struct reset_row *row, endpoint, unknown_short_packet_is_reset_by_something_shorter)
{
	struct qp_flow from = world_flow(PORT);
	struct world_packet *p;

	start();
	send_short(&from, "nobodyis", row->in);
	world_run(w, 50 * WORLD_MS);
	p = world_take_stray(w);
	cr_assert_eq(w->counters.quic_stateless_resets, row->most != 0);
	if (row->most == 0) {
		cr_assert_null(p);
		return;
	}
	cr_assert_not_null(p);
	cr_assert_geq(p->len, row->least);
	cr_assert_leq(p->len, row->most);
	cr_assert_lt(p->len, row->in);
	cr_assert_eq(p->data[0] & 0xc0, 0x40, "looks like a short packet");
	free(p);
}

Test(endpoint, same_unknown_id_same_token_other_id_another)
{
	static const char *const ids[] = {"nobodyis", "nobodyis", "somebody"};
	struct qp_flow from = world_flow(PORT);
	uint8_t token[3][RESET_TOKEN_BYTES];
	struct world_packet *p;

	start();
	for (unsigned i = 0; i < 3; i++) {
		send_short(&from, ids[i], 100);
		world_run(w, 50 * WORLD_MS);
		p = world_take_stray(w);
		cr_assert_not_null(p);
		memcpy(token[i], p->data + p->len - RESET_TOKEN_BYTES, RESET_TOKEN_BYTES);
		free(p);
	}
	cr_assert_arr_eq(token[0], token[1], RESET_TOKEN_BYTES);
	cr_assert_arr_neq(token[0], token[2], RESET_TOKEN_BYTES);
}

Test(endpoint, flood_of_unknown_packets_resets_are_limited)
{
	struct qp_flow from = world_flow(PORT);

	start();
	for (unsigned i = 0; i < 3000; i++)
		send_short(&from, "nobodyis", 100);
	world_run(w, 50 * WORLD_MS);
	cr_assert_eq(w->counters.quic_stateless_resets, 1000);
	cr_assert_eq(w->counters.drop_not_ours, 3000);
	world_run(w, WORLD_S);
	send_short(&from, "nobodyis", 100);
	world_run(w, 50 * WORLD_MS);
	cr_assert_eq(w->counters.quic_stateless_resets, 1001, "the next second has its own");
}

Test(endpoint, restarted_gateway_client_learns_by_stateless_reset)
{
	struct client *c;

	start();
	c = connected(PORT);
	world_restart_gateway(w);
	cr_assert(world_until(w, 10 * WORLD_S, c->over));
	cr_assert(c->stateless_reset);
	cr_assert_geq(w->counters.quic_stateless_resets, 1);
}

/* Junk. */

Test(endpoint, random_datagrams_make_no_connection)
{
	struct qp_flow from = world_flow(PORT);
	uint8_t buf[1472];

	start();
	for (unsigned i = 0; i < 20000; i++) {
		randombytes_buf(buf, 40);
		world_send(w, &from, 0, buf, 1 + world_random(w) % sizeof(buf));
		if (i % 64 == 0)
			world_run(w, 10 * WORLD_MS);
	}
	world_run(w, 5 * WORLD_S);
	cr_assert_eq(w->counters.quic_connections, 0);
}

/* Damages each datagram of the handshake now and then. */
static void
damage(void *ctx, uint8_t *data, size_t len)
{
	struct world *world = ctx;

	if (world_random(world) % 3 == 0)
		data[world_random(world) % len] ^= (uint8_t)(1u << world_random(world) % 8);
}

Test(endpoint, damaged_datagrams_handshake_still_completes)
{
	struct client *c;

	start();
	w->net.tap = damage;
	w->net.tap_ctx = w;
	c = client_new(w, PORT, NULL);
	cr_assert(world_until(w, 20 * WORLD_S, c->handshake_done));
}

Test(endpoint, own_datagrams_replayed_nothing_changes)
{
	struct client *c;

	start();
	w->net.duplication = 1000;
	c = connected(PORT);
	world_run(w, WORLD_S);
	cr_assert_not(c->over);
	cr_assert_eq(w->counters.quic_handshakes, 1);
	cr_assert_eq(w->counters.quic_connections, 1);
}

/* Ends. */

Test(endpoint, peer_closes_connection_drains_and_goes)
{
	struct client *c;

	start();
	c = connected(PORT);
	client_close(c, 0);
	world_run(w, 100 * WORLD_MS);
	cr_assert_eq(qp_tunnels_count(w->tunnels), 0, "the application knows at once");
	cr_assert(world_until(w, 5 * WORLD_S, w->counters.quic_connections == 0));
	cr_assert_eq(w->counters.quic_handshakes_failed, 0);
}

Test(endpoint, silent_client_is_dropped_at_idle_timeout)
{
	struct client_config ccfg;
	struct client *c;
	uint64_t since;

	client_config_default(&ccfg);
	cfg.quic.idle_timeout_ns = 30 * WORLD_S;
	start();
	c = client_new(w, PORT, &ccfg);
	cr_assert_not_null(client_forward(c, 9022));
	c->gone = true;
	since = w->now_ns;
	world_run(w, 29 * WORLD_S);
	cr_assert_eq(w->counters.quic_connections, 1);
	/* Keep-alives that go unanswered move the timer on once: RFC 9000, 10.1. */
	cr_assert(world_until(w, 10 * WORLD_S, w->counters.quic_connections == 0));
	cr_assert_leq(w->now_ns - since, 31 * WORLD_S, "%f s", (double)(w->now_ns - since) / 1e9);
	cr_assert_eq(cp_count(w, QP_MSG_FORWARD_CLOSED), 1);
	cr_assert_eq(cp_count(w, QP_MSG_TUNNEL_CLOSED), 1);
}

Test(endpoint, quiet_connection_is_kept_alive)
{
	struct client *c;

	cfg.quic.idle_timeout_ns = 30 * WORLD_S;
	start();
	c = client_new(w, PORT, NULL);
	cr_assert_not_null(client_forward(c, 9022));
	world_run(w, 300 * WORLD_S);
	cr_assert_not(c->over);
	cr_assert_eq(w->counters.quic_connections, 1);
}

/* The CONNECTION_CLOSE got lost: whoever goes on speaking hears it again (RFC 9000, 10.2.1). */
Test(endpoint, close_lost_is_repeated_when_spoken_to)
{
	struct client *c;

	start();
	c = connected(PORT);
	client_write(client_open(c), "neither magic", 13);
	world_run(w, 2 * WORLD_MS); /* on its way */
	w->net.loss = 1000;
	cr_assert(world_until(w, WORLD_S, qp_tunnels_count(w->tunnels) == 0));
	w->net.loss = 0;
	cr_assert_not(c->over);
	cr_assert(world_until(w, 5 * WORLD_S, c->over));
	cr_assert(c->application);
	cr_assert_eq(c->code, QP_APP_AUTH);
}

/* Paths and keys. */

static uint8_t pattern[3 << 20];

static void
fill_pattern(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + (i >> 9));
}

/* An open port, and an outside connection with its stream at the client. */
static struct outside_conn *
relayed(struct client *c, struct client_stream **s)
{
	struct outside_conn *o;

	cr_assert_not_null(client_forward(c, 9022));
	o = outside_connect(w, 9022);
	cr_assert(world_until(w, 5 * WORLD_S, client_nth(c, 0) != NULL));
	*s = client_nth(c, 0);
	return o;
}

static void
expect_upload(struct outside_conn *o, struct client_stream *s)
{
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	cr_assert(world_until(w, 120 * WORLD_S, s->fin));
	cr_assert_eq(s->rx_len, sizeof(pattern) + QP_WIRE_CONN_ID_BYTES);
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, sizeof(pattern));
}

Test(endpoint, nat_rebinds_during_transfer_path_follows)
{
	struct client_stream *s;
	struct outside_conn *o;
	struct client *c;

	start();
	fill_pattern();
	c = client_new(w, PORT, NULL);
	o = relayed(c, &s);
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	cr_assert(world_until(w, 30 * WORLD_S, s->rx_len > 100000));
	cr_assert_not(s->fin);
	/* Another port, and another way to the gateway: answers go back by the same. */
	c->flow.rport_be = htons(PORT + 7);
	c->flow.l2.peer_mac[5] = 9;
	client_write(s, "x", 1);
	cr_assert(world_until(w, 120 * WORLD_S, s->fin));
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, sizeof(pattern));
	cr_assert_geq(w->counters.quic_migrations, 1);
	cr_assert_not(c->over);
}

Test(endpoint, keys_updated_by_client_transfer_goes_on)
{
	struct client_stream *s;
	struct outside_conn *o;
	struct client *c;

	start();
	fill_pattern();
	c = client_new(w, PORT, NULL);
	o = relayed(c, &s);
	cr_assert_eq(ngtcp2_conn_initiate_key_update(c->conn, w->now_ns), 0);
	client_write(s, "after the first update", 22);
	cr_assert(world_until(w, 5 * WORLD_S, o->rx_len == 22));
	world_run(w, 5 * WORLD_S);
	cr_assert_eq(ngtcp2_conn_initiate_key_update(c->conn, w->now_ns), 0);
	expect_upload(o, s);
}

Test(endpoint, port_coalesces_datagrams_transfer_is_whole)
{
	struct client_stream *s;
	struct outside_conn *o;
	struct client *c;

	start();
	fill_pattern();
	w->net.gro = true;
	c = client_new(w, PORT, NULL);
	o = relayed(c, &s);
	client_write(s, pattern, sizeof(pattern));
	client_fin(s);
	expect_upload(o, s);
	cr_assert(world_until(w, 60 * WORLD_S, o->fin));
	cr_assert_eq(o->rx_len, sizeof(pattern));
	cr_assert_arr_eq(o->rx, pattern, sizeof(pattern));
	cr_assert_gt(w->super_frames_out, 0);
	cr_assert_leq(w->largest_super, 64);
}

Test(endpoint, port_without_segmentation_transfer_is_whole)
{
	struct client_stream *s;
	struct outside_conn *o;

	cfg.udp_segmentation = false;
	start();
	fill_pattern();
	o = relayed(client_new(w, PORT, NULL), &s);
	expect_upload(o, s);
	cr_assert_eq(w->super_frames_out, 0);
}

Test(endpoint, path_takes_only_1280_bytes_transfer_is_whole)
{
	struct client_stream *s;
	struct outside_conn *o;

	start();
	fill_pattern();
	w->net.max_udp_payload = 1280 - 28;
	o = relayed(client_new(w, PORT, NULL), &s);
	expect_upload(o, s);
}

/* After larger ones had been proven: path MTU discovery alone never takes that back. */
Test(endpoint, link_shrinks_during_transfer_datagrams_follow)
{
	struct client_stream *s;
	struct outside_conn *o;

	start();
	fill_pattern();
	w->net.link_mtu = 1500;
	o = relayed(client_new(w, PORT, NULL), &s);
	outside_send(o, pattern, sizeof(pattern));
	outside_finish(o);
	cr_assert(world_until(w, 30 * WORLD_S, s->rx_len > 200000));
	cr_assert_not(s->fin);
	w->net.link_mtu = 1300;
	w->net.max_udp_payload = 1300 - 28;
	cr_assert(world_until(w, 120 * WORLD_S, s->fin));
	cr_assert_eq(s->rx_len, sizeof(pattern) + QP_WIRE_CONN_ID_BYTES);
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, sizeof(pattern));
}

struct bad_net {
	uint64_t seed;
	unsigned loss, duplication, reordering;
};

ParameterizedTestParameters(endpoint, bad_network_both_directions_are_whole)
{
	static struct bad_net rows[] = {
		{1, 10, 0, 0},
		{2, 0, 100, 0},
		{3, 0, 0, 200},
		{4, 30, 30, 100},
		{5, 100, 50, 50},
		{6, 30, 30, 100},
		{7, 30, 30, 100},
		{8, 100, 100, 300},
	};

	return cr_make_param_array(struct bad_net, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(
	struct bad_net *row, endpoint, bad_network_both_directions_are_whole, .timeout = 200)
{
	enum { BYTES = 1 << 20 };
	struct client_stream *s;
	struct outside_conn *o;

	cfg.seed = row->seed;
	start();
	fill_pattern();
	w->net.loss = row->loss;
	w->net.duplication = row->duplication;
	w->net.reordering = row->reordering;
	o = relayed(client_new(w, PORT, NULL), &s);
	client_write(s, pattern, BYTES);
	client_fin(s);
	outside_send(o, pattern, BYTES);
	outside_finish(o);
	cr_assert(world_until(w, 3600 * WORLD_S, s->fin && o->fin));
	cr_assert_eq(s->rx_len, BYTES + QP_WIRE_CONN_ID_BYTES);
	cr_assert_arr_eq(s->rx + QP_WIRE_CONN_ID_BYTES, pattern, BYTES);
	cr_assert_eq(o->rx_len, BYTES);
	cr_assert_arr_eq(o->rx, pattern, BYTES);
	if (row->loss != 0)
		cr_assert_gt(w->net.lost, 0);
	cr_assert(world_until(w, 60 * WORLD_S, w->counters.conns_active == 0));
}
