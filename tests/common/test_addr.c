/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and ports as people write them. */
#include "common/addr.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define ANY (QP_ADDR_HOST | QP_ADDR_PROTO)

Test(addr, target_accepted_forms)
{
	static const struct {
		const char *text;
		unsigned flags;
		const char *host;
		uint16_t port;
		enum qp_wire_protocol protocol;
	} rows[] = {
		{"9000", 0, "", 9000, QP_WIRE_TCP},
		{"9000", ANY, "", 9000, QP_WIRE_TCP},
		{"9000/tcp", ANY, "", 9000, QP_WIRE_TCP},
		{"5353/udp", ANY, "", 5353, QP_WIRE_UDP},
		{"5353/UDP", ANY, "", 5353, QP_WIRE_UDP},
		{"127.0.0.1:53/udp", ANY, "127.0.0.1", 53, QP_WIRE_UDP},
		{"gateway.example:39000", QP_ADDR_NEED_HOST, "gateway.example", 39000, QP_WIRE_TCP},
		{"my_host-1:1", ANY, "my_host-1", 1, QP_WIRE_TCP},
		{"[::1]:65535", ANY, "::1", 65535, QP_WIRE_TCP},
		{"[fe80::1%eth0]:22/tcp", ANY, "fe80::1%eth0", 22, QP_WIRE_TCP},
		{"0", QP_ADDR_PORT_0, "", 0, QP_WIRE_TCP},
		{"00022", 0, "", 22, QP_WIRE_TCP},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct qp_target t;
		struct qp_errmsg msg;

		cr_assert(eq(int, qp_target_parse(rows[i].text, rows[i].flags, &t, &msg), QP_OK),
			"%s", msg.text);
		cr_assert(eq(str, t.host, (char *)rows[i].host), "%s", rows[i].text);
		cr_assert(eq(u16, t.port, rows[i].port));
		cr_assert(eq(int, (int)t.protocol, (int)rows[i].protocol));
	}
}

Test(addr, target_refused_forms)
{
	static const struct {
		const char *text;
		unsigned flags;
	} rows[] = {
		{"", ANY}, {":", ANY}, {":22", ANY}, {"host:", ANY}, {"host", ANY}, {"0", ANY},
		{"65536", ANY}, {"99999999999", ANY}, {"-1", ANY}, {"+1", ANY}, {" 22", ANY},
		{"22 ", ANY}, {"0x16", ANY}, {"22/", ANY}, {"22/sctp", ANY}, {"/tcp", ANY},
		{"22/tcp", QP_ADDR_HOST}, {"a:22", QP_ADDR_PROTO}, {"22", QP_ADDR_NEED_HOST},
		{"::1:22", ANY}, {"[::1]", ANY}, {"[::1]22", ANY}, {"[::1:22", ANY},
		{"[127.0.0.1]:22", ANY}, {"[]:22", ANY}, {"[::g]:22", ANY}, {"[fe80::1%]:22", ANY},
		{"a b:22", ANY}, {"a/b:22", ANY}, {"\xc3\xa4:22", ANY}, {"[::1]:", ANY},
		{"host:22:22", ANY},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct qp_target t;

		cr_assert(eq(int, qp_target_parse(rows[i].text, rows[i].flags, &t, NULL),
			QP_E_INVAL), "'%s'", rows[i].text);
	}
}

Test(addr, target_name_longer_than_dns_allows_is_refused)
{
	char text[300];
	struct qp_target t;

	memset(text, 'a', sizeof(text));
	strcpy(text + 253, ":22");
	cr_assert(eq(int, qp_target_parse(text, ANY, &t, NULL), QP_OK));
	cr_assert(eq(sz, strlen(t.host), 253));
	memset(text, 'a', 256);
	strcpy(text + 254, ":22");
	cr_assert(eq(int, qp_target_parse(text, ANY, &t, NULL), QP_E_INVAL));
}

Test(addr, target_errors_name_value_and_form)
{
	struct qp_target t;
	struct qp_errmsg msg;

	qp_target_parse("localhost:99999", QP_ADDR_NEED_HOST, &t, &msg);
	cr_assert(eq(str, msg.text, "'localhost:99999': expected a port from 1 to 65535"));
	qp_target_parse("localhost", QP_ADDR_NEED_HOST, &t, &msg);
	cr_assert(eq(str, msg.text, "'localhost': expected HOST:PORT (IPv6 in brackets)"));
	qp_target_parse("22/x\x1b", QP_ADDR_PROTO, &t, &msg);
	cr_assert(eq(str, msg.text, "'22/x\\x1b': expected PORT, PORT/tcp or PORT/udp"));
}

Test(addr, target_format_is_the_inverse)
{
	static const char *const texts[] = {"9000/tcp", "127.0.0.1:53/udp", "[::1]:22/tcp",
		"gateway.example:1/udp"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct qp_target t;
		char out[QP_HOST_BYTES + 16];

		cr_assert(eq(int, qp_target_parse(texts[i], ANY, &t, NULL), QP_OK));
		qp_target_format(&t, true, out, sizeof(out));
		cr_assert(eq(str, out, (char *)texts[i]));
		qp_target_format(&t, false, out, sizeof(out));
		cr_assert(eq(int, strncmp(out, texts[i], strlen(out)), 0));
		qp_target_format(&t, true, out, 4);
		cr_assert(lt(sz, strlen(out), 4));
	}
}

Test(addr, sockaddr_parse_and_format_are_inverse)
{
	static const char *const texts[] = {"127.0.0.1:39000", "0.0.0.0:0", "[::]:39000",
		"[2001:db8::1]:1", "[fe80::1%lo]:22"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct qp_sockaddr a;
		char out[QP_ADDR_TEXT_BYTES];

		cr_assert(eq(int, qp_sockaddr_parse(texts[i], &a, NULL), QP_OK), "%s", texts[i]);
		cr_assert(eq(str, (char *)qp_sockaddr_format(&a.sa, out), (char *)texts[i]));
	}
}

Test(addr, sockaddr_names_and_bare_ports_are_refused)
{
	static const char *const texts[] = {"localhost:80", "80", "127.0.0.1", "1.2.3:80",
		"1.2.3.256:80", "127.1:80", "[fe80::1%nosuchif]:80", ""};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct qp_sockaddr a;
		struct qp_errmsg msg;

		cr_assert(eq(int, qp_sockaddr_parse(texts[i], &a, &msg), QP_E_INVAL), "%s",
			texts[i]);
		cr_assert(ne(ptr, strstr(msg.text, texts[i]), NULL));
	}
}

Test(addr, sockaddr_facts)
{
	struct qp_sockaddr a;
	struct in6_addr in6;
	struct sockaddr un = {.sa_family = AF_UNIX};
	char out[QP_ADDR_TEXT_BYTES];

	qp_sockaddr_parse("0.0.0.0:5", &a, NULL);
	cr_assert(qp_sockaddr_is_any(&a.sa));
	cr_assert(not(qp_sockaddr_is_loopback(&a.sa)));
	cr_assert(qp_sockaddr_to_in6(&a.sa, &in6));
	cr_assert(ne(int, IN6_IS_ADDR_UNSPECIFIED(&in6), 0), "any of either family is all zero");
	cr_assert(eq(u16, qp_sockaddr_port(&a.sa), 5));
	qp_sockaddr_set_port(&a.sa, 443);
	cr_assert(eq(u16, qp_sockaddr_port(&a.sa), 443));
	qp_sockaddr_parse("[::ffff:127.0.0.9]:5", &a, NULL);
	cr_assert(qp_sockaddr_is_loopback(&a.sa));
	cr_assert(eq(str, (char *)qp_sockaddr_format(&a.sa, out), "127.0.0.9:5"));
	qp_sockaddr_parse("127.9.9.9:5", &a, NULL);
	cr_assert(qp_sockaddr_is_loopback(&a.sa));
	cr_assert(qp_sockaddr_to_in6(&a.sa, &in6));
	cr_assert(ne(int, IN6_IS_ADDR_V4MAPPED(&in6), 0));
	qp_sockaddr_parse("[::1]:5", &a, NULL);
	cr_assert(qp_sockaddr_is_loopback(&a.sa));
	cr_assert(not(qp_sockaddr_is_any(&a.sa)));
	cr_assert(not(qp_sockaddr_to_in6(&un, &in6)));
	cr_assert(not(qp_sockaddr_is_any(&un)));
	cr_assert(eq(u16, qp_sockaddr_port(&un), 0));
	cr_assert(eq(str, (char *)qp_sockaddr_format(&un, out), "family 1"));
}

Test(addr, ip_text)
{
	struct in6_addr a;
	struct qp_errmsg msg;

	cr_assert(eq(int, qp_ip_parse_text("192.0.2.1", &a, NULL), QP_OK));
	cr_assert(ne(int, IN6_IS_ADDR_V4MAPPED(&a), 0));
	cr_assert(eq(u8, a.s6_addr[15], 1));
	cr_assert(eq(int, qp_ip_parse_text("::1", &a, NULL), QP_OK));
	cr_assert(ne(int, IN6_IS_ADDR_LOOPBACK(&a), 0));
	cr_assert(eq(int, qp_ip_parse_text("[::1]", &a, NULL), QP_OK));
	cr_assert(eq(int, qp_ip_parse_text("[127.0.0.1]", &a, NULL), QP_E_INVAL));
	cr_assert(eq(int, qp_ip_parse_text("", &a, NULL), QP_E_INVAL));
	cr_assert(eq(int, qp_ip_parse_text("example", &a, &msg), QP_E_INVAL));
	cr_assert(eq(str, msg.text, "'example': expected a numeric address, such as 192.0.2.1 or "
				    "2001:db8::1"));
}

Test(addr, longest_address_fits)
{
	static const uint8_t addr[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	char out[QP_ADDR_TEXT_BYTES];

	cr_assert(eq(str, (char *)qp_addr_format(addr, htons(65535), out),
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"));
}
