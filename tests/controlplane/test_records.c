/* SPDX-License-Identifier: Apache-2.0 */
/* What rows say, and that no text of a peer spoils one. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/wire.h"
#include "controlplane/records.h"

static char path[64];
static struct qp_records records;
static struct qp_tunnel tun;
static struct qp_port port;
static const struct in6_addr everywhere = IN6ADDR_ANY_INIT;
static unsigned events;

static void
on_event(void *ctx, const struct qp_event *e)
{
	(void)ctx;
	cr_expect(json_is_object(e->data));
	events++;
}

static struct qp_listener listener = {.event = on_event};

static void
enter(void)
{
	int fd;

	strcpy(path, "/tmp/qp-records-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(qp_audit_open(path, &records.audit, NULL), 0);
	records.events = qp_events_new();
	qp_events_listen(records.events, &listener);
	tun.origin = (struct qp_origin) {.server_id = 0x3039, .worker = 1, .id = 0x1f};
	inet_pton(AF_INET6, "::ffff:192.0.2.7", tun.peer_addr);
	tun.peer_port_be = htons(4711);
	tun.identity.method = QP_AUTH_PSK;
	tun.identity.since = 1000000000;
	strcpy(tun.identity.name, "shop");
	port = (struct qp_port) {.port = 9000, .protocol = IPPROTO_UDP, .opened_at = 1000000060,
		.destination = "[::1]:53", .tunnel = &tun};
}

static void
leave(void)
{
	qp_events_unlisten(records.events, &listener);
	qp_events_free(records.events);
	qp_audit_close(records.audit);
	unlink(path);
}

TestSuite(records, .init = enter, .fini = leave);

/* The only row, without its time; as text with sorted keys. */
static const char *
only_row(void)
{
	static char text[2048];
	json_error_t err;
	json_t *row = json_load_file(path, 0, &err);
	size_t len;

	cr_assert_not_null(row, "%s", err.text);
	cr_assert_eq(json_object_del(row, "time"), 0);
	len = json_dumpb(row, text, sizeof(text) - 1, JSON_COMPACT | JSON_SORT_KEYS);
	cr_assert_lt(len, sizeof(text));
	text[len] = '\0';
	json_decref(row);
	return text;
}

Test(records, tunnel_of_a_psk_has_no_key)
{
	qp_record_tunnel_opened(&records, &tun);
	cr_expect_str_eq(only_row(), "{\"client\":\"shop\",\"event\":\"tunnel_opened\","
				     "\"method\":\"psk\",\"peer_address\":\"192.0.2.7\","
				     "\"peer_port\":4711,\"since\":\"2001-09-09T01:46:40Z\","
				     "\"tunnel\":\"3039-1-1f\"}");
	cr_expect_eq(events, 1u);
}

Test(records, tunnel_of_a_dead_data_plane_has_no_numbers)
{
	qp_record_tunnel_closed(&records, &tun, QP_END_CLIENT_LEFT, NULL);
	cr_expect_null(strstr(only_row(), "bytes"), "%s", only_row());
	cr_expect_not_null(strstr(only_row(), "\"reason\":\"data plane ended\""));
}

Test(records, closed_port_tells_its_whole_story)
{
	struct in6_addr addr;

	inet_pton(AF_INET6, "2001:db8::1", &addr);
	qp_record_port_closed(&records, &port, &addr, "client left",
		&(struct qp_msg_usage) {.in_bytes = 1, .out_bytes = UINT32_MAX * 5ull,
			.conns_total = 3, .conns_refused = 4});
	cr_expect_str_eq(only_row(),
		"{\"address\":\"2001:db8::1\",\"bytes_in\":1,\"bytes_out\":21474836475,"
		"\"client\":\"shop\",\"connections\":3,\"connections_refused\":4,"
		"\"destination\":\"[::1]:53\",\"event\":\"port_closed\","
		"\"peer_address\":\"192.0.2.7\",\"peer_port\":4711,\"port\":9000,"
		"\"protocol\":\"udp\",\"reason\":\"client left\","
		"\"since\":\"2001-09-09T01:47:40Z\",\"tunnel\":\"3039-1-1f\"}");
}

Test(records, adopted_port_says_so)
{
	port.adopted = true;
	qp_record_port_opened(&records, &port, &everywhere);
	cr_expect_not_null(strstr(only_row(), "\"adopted\":true"), "%s", only_row());
	cr_expect_null(strstr(only_row(), "\"address\""));
}

Test(records, text_of_a_peer_is_made_harmless)
{
	qp_record_local_refused(
		&records, &tun, QP_WIRE_TCP, "evil\r\n{\"event\":\"x\"}\xff\xc0\x80:1", "no");
	cr_expect_not_null(strstr(only_row(), "\"destination\":\"evil\\\\x0d\\\\x0a{"), "%s",
		only_row());
	cr_expect_eq(events, 0u);
}

Test(records, connection_of_a_tunnel_that_is_gone_still_has_its_id)
{
	struct qp_msg_conn c = {.conn_id = 5, .protocol = QP_WIRE_TCP, .local = 1, .port = 50000,
		.peer_port_be = htons(443), .reason = QP_END_TIMEOUT, .age_ms = 7};

	inet_pton(AF_INET6, "2001:db8::5", c.peer_addr);
	qp_record_connection(&records, &tun.origin, (struct qp_slice) {0}, &c);
	cr_expect_str_eq(only_row(),
		"{\"bytes_in\":0,\"bytes_out\":0,\"connection\":5,"
		"\"direction\":\"client to outside\",\"duration_ms\":7,\"event\":\"connection\","
		"\"outside_address\":\"2001:db8::5\",\"outside_port\":443,\"port\":50000,"
		"\"protocol\":\"tcp\",\"reason\":\"timeout\",\"tunnel\":\"3039-1-1f\"}");
}

Test(records, action_says_who_and_what)
{
	qp_record_admin(&records, "api 127.0.0.1:5", "KickTunnel", json_pack("{s:s}", "id", "x"));
	cr_expect_str_eq(only_row(), "{\"action\":\"KickTunnel\",\"actor\":\"api 127.0.0.1:5\","
				     "\"event\":\"admin\",\"id\":\"x\"}");
}

Test(records, reason_that_a_newer_data_plane_sends_is_unknown)
{
	cr_expect_str_eq(qp_end_reason_name((enum qp_end_reason)4711), "unknown");
	cr_expect_str_eq(qp_end_reason_name(QP_END_UNKNOWN), "unknown");
}

Test(records, nobody_listens_and_nothing_is_kept)
{
	qp_record_tunnel_opened(NULL, &tun);
	qp_record_admin(NULL, "x", "y", json_object());
	qp_record_connection(&(struct qp_records) {0}, &tun.origin, (struct qp_slice) {0},
		&(struct qp_msg_conn) {0});
	qp_record_port_opened(&(struct qp_records) {0}, &port, &everywhere);
}
