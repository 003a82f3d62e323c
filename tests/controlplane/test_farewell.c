/* SPDX-License-Identifier: Apache-2.0 */
/* Goodbyes in a dead data plane's name: who gets which token, from where, and when. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/farewell.h"
#include "controlplane/farewell.h"

#define ENTRIES 200u

#define TABLE_BYTES (sizeof(struct qp_farewell_table) + ENTRIES * sizeof(struct qp_farewell_entry))

static uint64_t memory[TABLE_BYTES / sizeof(uint64_t) + 1];
static struct qp_farewell_table *const table = (struct qp_farewell_table *)memory;
static size_t table_len = TABLE_BYTES;
static int gateway = -1, client = -1;
static struct sockaddr_in client_at;
static struct qp_loop *loop;
static struct qp_goodbyes *goodbyes;

static const void *
zone(const char *name, size_t *len)
{
	*len = table_len;
	return strcmp(name, "qp_bye_300_0") == 0 ? table : NULL;
}

static int
quic_socket(void *ctx)
{
	(void)ctx;
	return gateway;
}

static int
bound(int family, struct sockaddr_storage *at)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*at);

	memset(at, 0, sizeof(*at));
	at->ss_family = (sa_family_t)family;
	if (family == AF_INET)
		((struct sockaddr_in *)at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert_eq(bind(fd, (struct sockaddr *)at,
			     family == AF_INET ? sizeof(struct sockaddr_in)
					       : sizeof(struct sockaddr_in6)),
		0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)at, &len), 0);
	return fd;
}

static void
put(unsigned i, uint8_t token)
{
	struct qp_farewell_entry *e = &table->entry[i];
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};

	*e = (struct qp_farewell_entry) {.used = 1, .peer_port_be = client_at.sin_port};
	memcpy(e->peer, mapped, sizeof(mapped));
	memcpy(e->local, mapped, sizeof(mapped));
	e->local[15] = 7; /* 127.0.0.7: only that one is whom the client speaks to */
	memset(e->token, token, sizeof(e->token));
}

static void
open_all(void)
{
	struct sockaddr_storage at;

	gateway = bound(AF_INET6, &at); /* [::]: as the reservation of all addresses */
	client = bound(AF_INET, &at);
	memcpy(&client_at, &at, sizeof(client_at));
	memset(memory, 0, sizeof(memory));
	*table = (struct qp_farewell_table) {.magic = QP_FAREWELL_MAGIC,
		.entry_bytes = sizeof(struct qp_farewell_entry),
		.n = ENTRIES};
	loop = qp_loop_new();
	goodbyes = qp_goodbyes_new(&(struct qp_goodbyes_config) {
		.loop = loop, .socket = quic_socket, .zone = zone});
	cr_assert_not_null(goodbyes);
}

static void
close_all(void)
{
	qp_goodbyes_free(goodbyes);
	qp_loop_free(loop);
	close(gateway);
	close(client);
}

TestSuite(farewell, .init = open_all, .fini = close_all, .timeout = 60);

/* A datagram within a second; its length, 0: none. */
static size_t
receive(uint8_t out[64], struct sockaddr_in *from)
{
	struct pollfd p = {.fd = client, .events = POLLIN};
	socklen_t len = sizeof(*from);

	if (poll(&p, 1, 1000) != 1)
		return 0;
	return (size_t)recvfrom(client, out, 64, 0, (struct sockaddr *)from, &len);
}

Test(farewell, client_gets_its_token_from_the_address_it_spoke_to)
{
	uint8_t datagram[64], token[QP_RESET_TOKEN_BYTES];
	struct sockaddr_in from;
	size_t len;

	put(3, 0xab);
	memset(token, 0xab, sizeof(token));
	cr_assert_eq(qp_goodbyes_collect(goodbyes, 300), 1);
	memset(memory, 0, sizeof(memory)); /* freed meanwhile */
	qp_goodbyes_send(goodbyes);
	len = receive(datagram, &from);
	/* RFC 9000, 10.3: 21 bytes at least, like a short header, the token at the end. */
	cr_assert_geq(len, 21);
	cr_expect_eq(datagram[0] & 0xc0, 0x40);
	cr_expect_arr_eq(datagram + len - sizeof(token), token, sizeof(token));
	cr_expect_eq(from.sin_addr.s_addr, htonl(0x7f000007));
	cr_expect_eq(qp_goodbyes_sent(goodbyes), 1);
	qp_goodbyes_send(goodbyes);
	cr_expect_eq(qp_goodbyes_sent(goodbyes), 1, "nobody is told twice");
}

Test(farewell, all_of_many_are_told)
{
	uint8_t datagram[64];
	struct sockaddr_in from;
	unsigned got = 0;

	for (unsigned i = 0; i < ENTRIES; i++)
		put(i, (uint8_t)i);
	cr_assert_eq(qp_goodbyes_collect(goodbyes, 300), ENTRIES);
	qp_goodbyes_send(goodbyes);
	while (got < ENTRIES) {
		qp_loop_turn(loop, 1);
		while (recv(client, datagram, sizeof(datagram), 0) > 0)
			got++;
	}
	cr_expect_eq(qp_goodbyes_sent(goodbyes), ENTRIES);
	cr_expect_eq(receive(datagram, &from), 0);
}

Test(farewell, half_written_and_foreign_tables_are_left_alone)
{
	put(0, 1);
	table->entry[0].used = 0;
	cr_expect_eq(qp_goodbyes_collect(goodbyes, 300), 0);
	put(0, 1);
	cr_expect_eq(qp_goodbyes_collect(goodbyes, 301), 0, "another generation's");
	table->entry_bytes = 100;
	cr_expect_eq(qp_goodbyes_collect(goodbyes, 300), 0);
	table->entry_bytes = sizeof(struct qp_farewell_entry);
	table->n = ENTRIES + 1;
	cr_expect_eq(qp_goodbyes_collect(goodbyes, 300), 0, "it is larger than its zone");
	table->n = ENTRIES;
	table->magic = 0;
	cr_expect_eq(qp_goodbyes_collect(goodbyes, 300), 0);
	table->magic = QP_FAREWELL_MAGIC;
	table_len = sizeof(*table) - 1;
	cr_expect_eq(qp_goodbyes_collect(goodbyes, 300), 0);
}

Test(farewell, without_a_socket_nothing_is_sent_and_nothing_kept)
{
	put(0, 1);
	cr_assert_eq(qp_goodbyes_collect(goodbyes, 300), 1);
	close(gateway);
	gateway = -1;
	qp_goodbyes_send(goodbyes);
	cr_expect_eq(qp_goodbyes_sent(goodbyes), 0);
}

static int takes;          /* so many in a call */
static unsigned offered, taken;
static uint8_t last_token;

static int
take(void *ctx, const struct qp_farewell_entry *e, unsigned n)
{
	const int now = takes < (int)n ? takes : (int)n;

	(void)ctx;
	offered++;
	if (now > 0) {
		taken += (unsigned)now;
		last_token = e[now - 1].token[0];
	}
	return now;
}

Test(farewell, worker_that_sends_in_our_place_gets_each_once_and_at_its_pace)
{
	struct qp_goodbyes *g = qp_goodbyes_new(&(struct qp_goodbyes_config) {
		.loop = loop, .socket = quic_socket, .send = take, .zone = zone});

	cr_assert_not_null(g);
	for (unsigned i = 0; i < ENTRIES; i++)
		put(i, (uint8_t)i);
	cr_assert_eq(qp_goodbyes_collect(g, 300), ENTRIES);
	takes = 0; /* its ring is full */
	qp_goodbyes_send(g);
	cr_expect(qp_goodbyes_busy(g), "tried again");
	takes = 7;
	while (qp_goodbyes_busy(g))
		qp_loop_turn(loop, 20);
	cr_expect_eq(taken, ENTRIES);
	cr_expect_eq(last_token, (uint8_t)(ENTRIES - 1));
	cr_expect_eq(qp_goodbyes_sent(g), ENTRIES);
	cr_assert_eq(qp_goodbyes_collect(g, 300), ENTRIES);
	takes = -1; /* nobody serves */
	qp_goodbyes_send(g);
	cr_expect_not(qp_goodbyes_busy(g));
	cr_expect_eq(qp_goodbyes_sent(g), ENTRIES);
	qp_goodbyes_free(g);
}
