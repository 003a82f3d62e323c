/* SPDX-License-Identifier: Apache-2.0 */
/* The prompt's commands over ports that are made up: what is said, in testpmd's layout, byte by byte. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/prompt/prompt.h"

static struct {
	struct qp_prompt *prompt;
	struct qp_prompt_session *session;
	char said[1 << 16];
	size_t len;
	struct qp_prompt_stats stats[2];
	bool running, quit;
	uint32_t burst;
	unsigned off;
} w;

static unsigned
nports(void *ctx)
{
	return 2;
}

static bool
port_info(void *ctx, unsigned port, struct qp_prompt_info *out)
{
	*out = (struct qp_prompt_info) {.name = "net_test0", .driver = "net_test", .mac = {2, 0, 0, 0, 0, 0xab},
		.up = true, .full_duplex = true, .speed_mbps = 10000, .mtu = 1500, .nrx = 1, .ntx = 1, .rx_descriptors = 512,
		.socket = port == 0 ? 0 : -1};
	return port < 2;
}

static bool
port_stats(void *ctx, unsigned port, struct qp_prompt_stats *out)
{
	*out = w.stats[port];
	return true;
}

static bool
port_xstat(void *ctx, unsigned port, unsigned i, struct qp_prompt_xstat *out)
{
	snprintf(out->name, sizeof(out->name), "rx_good_packets");
	out->value = w.stats[port].ipackets;
	return i < 1;
}

static int
port_start(void *ctx, unsigned port, bool start, struct qp_errmsg *msg)
{
	if (port == 1)
		return qp_fail(msg, QP_E_IO, "it is stuck");
	w.off = start ? 0 : 1;
	return 0;
}

static bool
stream(void *ctx, unsigned i, struct qp_prompt_stream *out)
{
	*out = (struct qp_prompt_stream) {.rx_port = i, .tx_port = i ^ 1, .rx_packets = w.stats[i & 1].ipackets,
		.tx_packets = w.stats[i & 1].ipackets - 3, .tx_dropped = 3};
	return i < 2;
}

static bool
lcore(void *ctx, unsigned i, struct qp_prompt_lcore *out)
{
	*out = (struct qp_prompt_lcore) {.id = 5, .cpu = 1, .busy_cycles = 3000, .idle_cycles = 1000,
		.packets = 30, .bytes = 1500};
	return i < 1;
}

static bool
running(void *ctx)
{
	return w.running;
}

static int
start(void *ctx, bool on, struct qp_errmsg *msg)
{
	w.running = on;
	return 0;
}

static uint32_t
burst(void *ctx)
{
	return w.burst;
}

static int
set_burst(void *ctx, uint32_t n, struct qp_errmsg *msg)
{
	w.burst = n;
	return 0;
}

static void
quit(void *ctx)
{
	w.quit = true;
}

static const struct qp_prompt_ops ops = {.nports = nports, .port_info = port_info, .port_stats = port_stats,
	.port_xstat = port_xstat, .port_start = port_start, .stream = stream, .lcore = lcore, .running = running,
	.start = start, .burst = burst, .set_burst = set_burst, .quit = quit};

static void
hear(void *ctx, const char *bytes, uint32_t len)
{
	cr_assert(w.len + len < sizeof(w.said));
	memcpy(w.said + w.len, bytes, len);
	w.len += len;
	w.said[w.len] = '\0';
}

static void
open_session(bool quiet, bool owner)
{
	const struct qp_prompt_config cfg = {.ops = &ops};
	const struct qp_prompt_session_config session = {.sign = "testpmd> ", .quiet = quiet, .owner = owner,
		.write = hear};
	struct qp_errmsg msg;

	memset(&w, 0, sizeof(w));
	w.burst = 32;
	cr_assert_eq(qp_prompt_new(&cfg, &w.prompt, &msg), 0);
	w.session = qp_prompt_open(w.prompt, &session);
	cr_assert_not_null(w.session);
}

static void
close_session(void)
{
	qp_prompt_close(w.session);
	qp_prompt_free(w.prompt);
}

/* What is said to a command. */
static const char *
says(const char *command)
{
	char line[256];

	w.len = 0;
	w.said[0] = '\0';
	snprintf(line, sizeof(line), "%s\n", command);
	(void)qp_prompt_feed(w.session, line, (uint32_t)strlen(line));
	return w.said;
}

#define assert_says(command, text) cr_assert_str_eq(says(command), text, "said: [%s]", w.said)
#define assert_mentions(command, text) cr_assert(strstr(says(command), text) != NULL, "said: [%s]", w.said)

Test(prompt, show_port_stats_as_testpmd_prints_them)
{
	open_session(true, true);
	w.stats[0] = (struct qp_prompt_stats) {1234567, 7, 98765432, 700, 3, 2, 1, 4};
	assert_says("show port stats 0",
		"\n  ######################## NIC statistics for port 0  ########################\n"
		"  RX-packets: 1234567    RX-missed: 3          RX-bytes:  98765432\n"
		"  RX-errors: 2\n"
		"  RX-nombuf:  4         \n"
		"  TX-packets: 7          TX-errors: 1          TX-bytes:  700\n"
		"\n"
		"  Throughput (since last show)\n"
		"  Rx-pps:            0          Rx-bps:            0\n"
		"  Tx-pps:            0          Tx-bps:            0\n"
		"  ############################################################################\n");
	w.stats[0].ipackets += 1000000;
	cr_assert_null(strstr(says("show port stats 0"), "Rx-pps:            0"), "a rate since the last time");
	close_session();
}

Test(prompt, show_fwd_stats_as_testpmd_prints_them)
{
	open_session(true, true);
	w.stats[0].ipackets = 171904;
	w.stats[1].ipackets = 172128;
	w.stats[1].imissed = 5;
	assert_says("show fwd stats all",
		"\n  ---------------------- Forward statistics for port 0  ----------------------\n"
		"  RX-packets: 171904         RX-dropped: 0             RX-total: 171904\n"
		"  TX-packets: 172125         TX-dropped: 3             TX-total: 172128\n"
		"  ----------------------------------------------------------------------------\n"
		"\n  ---------------------- Forward statistics for port 1  ----------------------\n"
		"  RX-packets: 172128         RX-dropped: 5             RX-total: 172133\n"
		"  TX-packets: 171901         TX-dropped: 3             TX-total: 171904\n"
		"  ----------------------------------------------------------------------------\n"
		"\n  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++\n"
		"  RX-packets: 344032         RX-dropped: 5             RX-total: 344037\n"
		"  TX-packets: 344026         TX-dropped: 6             TX-total: 344032\n"
		"  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++\n");
	close_session();
}

Test(prompt, what_needs_no_more_words_is_done_without_them)
{
	open_session(true, true);
	w.stats[0].ipackets = 171904;
	assert_mentions("show fwd stats", "Forward statistics for port 1");
	assert_says("clear fwd stats", "");
	assert_mentions("show fwd stats", "  RX-packets: 0 ");
	assert_mentions("show config", "List of forwarding lcores:  5\n");
	cr_assert_not_null(strstr(w.said, "Logical Core 5 (socket 0) forwards packets on 2 streams:"));
	cr_assert_not_null(strstr(w.said, "  nb forwarding cores=1 - nb forwarding ports=2\n"));
	cr_assert_not_null(strstr(w.said, "    RX queue: 0\n      RX desc=512\n"));
	cr_assert_not_null(strstr(w.said, "    TX queue: 0\n  port 1:"), "the device does not tell how many");
	assert_mentions("show config fwd", "RX P=1/Q=0 (socket 0) -> TX P=0/Q=0 (socket 0)");
	assert_mentions("show port info 1", "\nConnect to socket: 0\n");
	close_session();
}

Test(prompt, cleared_statistics_begin_at_zero_and_only_of_that_port)
{
	open_session(true, true);
	w.stats[0].ipackets = w.stats[1].ipackets = 50;
	assert_says("clear port stats 0", "\n  NIC statistics for port 0 cleared\n");
	w.stats[0].ipackets += 2;
	assert_mentions("show port stats 0", "RX-packets: 2 ");
	assert_mentions("show port stats 1", "RX-packets: 50 ");
	w.stats[0].ipackets = 3; /* the device begins anew */
	assert_mentions("show port stats 0", "RX-packets: 3 ");
	w.stats[0].ipackets = 52;
	(void)says("clear port xstats all");
	w.stats[0].ipackets += 7;
	assert_says("show port xstats 0", "###### NIC extended statistics for port 0 \nrx_good_packets: 7\n");
	(void)says("clear fwd stats all");
	assert_mentions("show fwd stats all", "RX-packets: 0 ");
	assert_mentions("show lcore cycles", "Busy-cycles: 0 ");
	close_session();
}

Test(prompt, show_lcore_cycles_by_packet_and_byte)
{
	open_session(true, true);
	assert_mentions("show lcore cycles", "Cycles of lcore 5   (CPU 1, socket 0)");
	cr_assert_not_null(strstr(w.said, "Busy-cycles: 3000               Idle-cycles: 1000               "
					  "Busy-percent: 75.0\n"));
	cr_assert_not_null(strstr(w.said, "Cycles/packet: 100.0\n"));
	cr_assert_not_null(strstr(w.said, "Cycles/byte: 2.000 "));
	close_session();
}

Test(prompt, start_and_stop_say_what_testpmd_says)
{
	open_session(true, true);
	assert_says("stop", "Packet forwarding not started\n");
	assert_mentions("start", "Logical Core 5 (socket 0) forwards packets on 2 streams:");
	cr_assert(w.running);
	assert_says("start", "Packet forwarding already started\n");
	assert_mentions("stop", "Telling cores to stop...\nWaiting for lcores to finish...\n");
	cr_assert_not_null(strstr(w.said, "\nDone.\n"));
	cr_assert_not(w.running);
	close_session();
}

Test(prompt, bad_input_is_answered_and_changes_nothing)
{
	open_session(true, true);
	assert_says("set burst 513", "nb pkt per burst: 513 > 512 (maximum packet per burst)  ignored\n");
	assert_says("set burst 0", "nb pkt per burst: 0 < 1 (minimum packet per burst)  ignored\n");
	cr_assert_eq(w.burst, 32);
	assert_says("set burst 512", "Number of packets per burst set to 512\n");
	assert_says("show port stats 2", "Invalid port 2\n");
	assert_says("show port stats 70000", "show port stats 70000: Bad arguments\n");
	assert_says("nonsense", "nonsense: Command not found\n");
	assert_says("# a remark", "");
	assert_says("", "");
	assert_says("set verbose 1", "verbose levels: this program has none\n");
	assert_says("show tunnels", "tunnels: this program has none\n");
	assert_mentions("port stop 1", "Port 1: it is stuck\n");
	assert_mentions("port stop 0", "Stopping ports...\nChecking link statuses...\nDone\n");
	cr_assert_eq(w.off, 1);
	close_session();
}

Test(prompt, a_line_that_is_too_long_is_one_bad_command)
{
	char line[3000];

	open_session(true, true);
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	(void)qp_prompt_feed(w.session, line, sizeof(line) - 1);
	assert_mentions("", "Command not found");
	assert_says("set burst 8", "Number of packets per burst set to 8\n");
	close_session();
}

Test(prompt, what_is_typed_is_echoed_and_asked_for_again)
{
	open_session(false, true);
	cr_assert_str_eq(w.said, "testpmd> ");
	assert_says("set burst 16", "set burst 16\r\nNumber of packets per burst set to 16\ntestpmd> ");
	assert_says("show foo", "show foo\r\nBad arguments\ntestpmd> ");
	/* A completion, as somebody types it. */
	w.len = 0;
	(void)qp_prompt_feed(w.session, "cle\t", 4);
	cr_assert_eq(strncmp(w.said, "clear ", 6), 0, "said: [%s]", w.said);
	close_session();
}

Test(prompt, quit_ends_the_program_for_its_owner_alone)
{
	open_session(true, false);
	cr_assert_not(qp_prompt_feed(w.session, "quit\nset burst 4\n", 17));
	cr_assert_not(w.quit);
	cr_assert_eq(w.burst, 32, "what stands behind quit is not done");
	close_session();
	open_session(false, true);
	cr_assert_not(qp_prompt_feed(w.session, "quit\n", 5));
	cr_assert(w.quit);
	close_session();
}

Test(prompt, the_period_shows_all_ports_on_a_clean_screen)
{
	open_session(true, true);
	w.len = 0;
	qp_prompt_show_period(w.session);
	cr_assert_eq(strncmp(w.said, "\x1b[2J\x1b[1;1H\nPort statistics ====================================\n  #####", 60), 0);
	cr_assert_not_null(strstr(w.said, "NIC statistics for port 1 "));
	close_session();
}
