/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics: names of the contract, sums over workers and generations, the text format. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/metrics.h"

static struct qp_authd_counters auth = {1, 2, 3, 4, .refused = {[QP_REFUSED_slowed] = 7}};

/* A link is a block of memory to the metrics; the real one needs EAL. */
struct qp_dp_link {
	struct qp_shared_view view;
};

static struct qp_dp_link link_;
static struct qp_gen_shared *block;

#define RING_BYTES 64u

const struct qp_shared_view *
qp_dp_link_view(const struct qp_dp_link *l)
{
	return &l->view;
}

unsigned
qp_dp_link_waiting(const struct qp_dp_link *l, unsigned worker, bool to_us)
{
	(void)l;
	return to_us ? 10 + worker : 20 + worker;
}

const char *
qp_generation_state_name(enum qp_dp_state state)
{
	return state == QP_DP_ACTIVE ? "ACTIVE" : "OTHER";
}

static struct qp_generations generations = TAILQ_HEAD_INITIALIZER(generations);
static struct qp_generation gen = {
	.server_id = 0x3039, .state = QP_DP_ACTIVE, .nworkers = 2, .link = &link_};
static struct qp_totals retired;
static char *text;

static void
print(void)
{
	static const uint64_t classifier[QP_CLS_NCOUNTERS] = {[QP_CLS_public_api] = 8};
	struct qp_metrics m = {.classifier = classifier,
		.uptime_s = 42,
		.auth = &auth,
		.retired = &retired,
		.generations = &generations,
		.data_plane_starts = 1,
		.ports_open = 5};
	size_t len;

	free(text);
	text = qp_metrics_text(&m, &len);
	cr_assert_not_null(text);
	cr_assert_eq(strlen(text), len);
}

static double
value(const char *name)
{
	char line[160];
	const char *at;

	snprintf(line, sizeof(line), "\n%s ", name);
	at = strstr(text, line);
	cr_assert_not_null(at, "%s is not there", name);
	return atof(at + strlen(line));
}

static void
open_view(void)
{
	struct qp_errmsg msg;

	cr_assert_eq(qp_shared_open(&link_.view, block, qp_shared_bytes(2, RING_BYTES), &msg), 0,
		"%s", msg.text);
}

static void
start(void)
{
	TAILQ_INSERT_TAIL(&generations, &gen, next);
	block = aligned_alloc(64, (qp_shared_bytes(2, RING_BYTES) + 63) / 64 * 64);
	cr_assert_not_null(block);
	qp_shared_init(block, 2, RING_BYTES);
	for (unsigned w = 0; w < 2; w++) {
		struct qp_worker_shared *s = qp_shared_worker(block, w);

		s->c.relay_bytes_in = 100 * (w + 1);
		s->c.relay_bytes_out = 10 * (w + 1);
		s->c.tunnels_active = w + 1;
		s->c.tunnels_total = 7;
		s->c.mbufs_total = 1000;
		s->tcp[0] = 3; /* passive_opens */
		s->ip_drops[1] = w;
	}
	open_view();
}

static void
stop(void)
{
	free(text);
	free(block);
}

TestSuite(metrics, .init = start, .fini = stop);

Test(metrics, contract_names_have_sums)
{
	retired.c.relay_bytes_in = 1000;
	retired.c.tunnels_total = 1;
	print();
	cr_expect_eq(value("quicport_uptime_seconds"), 42);
	cr_expect_eq(value("quicport_tunnels_active"), 3);
	cr_expect_eq(value("quicport_tunnels_total"), 15);
	cr_expect_eq(value("quicport_bytes_sent_total"), 1300);
	cr_expect_eq(value("quicport_bytes_received_total"), 30);
	cr_expect_eq(value("quicport_auth_psk_success_total"), 1);
	cr_expect_eq(value("quicport_auth_psk_failed_total"), 2);
	cr_expect_eq(value("quicport_auth_x25519_success_total"), 3);
	cr_expect_eq(value("quicport_auth_x25519_failed_total"), 4);
	cr_expect_eq(value("quicport_auth_refused_total{reason=\"slowed\"}"), 7);
	cr_expect_eq(value("quicport_auth_refused_total{reason=\"wrong_psk\"}"), 0);
	cr_expect_eq(value("quicport_ports_open"), 5);
}

Test(metrics, workers_are_told_apart)
{
	print();
	cr_expect_eq(
		value("quicport_worker_relay_bytes_in_total{dp_id=\"0x3039\",worker=\"0\"}"), 100);
	cr_expect_eq(
		value("quicport_worker_relay_bytes_in_total{dp_id=\"0x3039\",worker=\"1\"}"), 200);
	cr_expect_eq(value("quicport_tcp_passive_opens_total"), 6);
	cr_expect_eq(
		value("quicport_worker_tcp_passive_opens_total{dp_id=\"0x3039\",worker=\"1\"}"), 3);
	cr_expect_eq(value("quicport_ip_drops_total{reason=\"not_ip\"}"), 1);
	cr_expect_eq(value("quicport_data_plane_info{dp_id=\"0x3039\",state=\"ACTIVE\"}"), 1);
	cr_expect_eq(value("quicport_mbufs_capacity"), 2000);
	cr_expect_eq(value("quicport_classifier_packets_total{verdict=\"public_api\"}"), 8);
}

static struct qp_shared_name *
name_in_block(const char *name)
{
	struct qp_shared_map *map = (struct qp_shared_map *)(void *)((char *)block + block->map_at);
	struct qp_shared_name *names = (struct qp_shared_name *)(void *)(map + 1);

	for (uint32_t i = 0; i < map->nnames; i++) {
		if (strcmp(names[i].name, name) == 0)
			return &names[i];
	}
	cr_assert(false, "no counter is called %s", name);
	return NULL;
}

Test(metrics, counter_that_another_release_lacks_is_absent_and_not_zero)
{
	strcpy(name_in_block("loops")->name, "turns");
	strcpy(name_in_block("tcp_drop_paws")->name, "tcp_drop_other");
	strcpy(name_in_block("ip_not_ip")->name, "ip_other");
	open_view();
	print();
	cr_expect_null(strstr(text, "quicport_worker_loops_total{"));
	cr_expect_null(strstr(text, "\nquicport_loops_total "));
	cr_expect_null(strstr(text, "layer=\"tcp\",reason=\"paws\""));
	cr_expect_null(strstr(text, "reason=\"not_ip\""));
	cr_expect_eq(value("quicport_tunnels_active"), 3, "the others are still read");
	cr_expect_eq(value("quicport_ip_drops_total{reason=\"short\"}"), 0);
}

Test(metrics, counters_are_found_by_name_wherever_they_are)
{
	struct qp_shared_name *a = name_in_block("tunnels_total"), *b = name_in_block("tx_frames");
	const uint32_t at = a->at;

	a->at = b->at;
	b->at = at;
	open_view();
	print();
	cr_expect_eq(value("quicport_tunnels_total"), 0);
	cr_expect_eq(value("quicport_tx_frames_total"), 14);
}

Test(metrics, block_without_names_leaves_its_counters_out)
{
	block->map_at = 0; /* as version 3 has it */
	open_view();
	print();
	cr_expect_eq(value("quicport_tunnels_active"), 0);
	cr_expect_eq(value("quicport_data_plane_info{dp_id=\"0x3039\",state=\"ACTIVE\"}"), 1);
	cr_expect_null(strstr(text, "quicport_worker_loops_total{"));
}

Test(metrics, ended_data_plane_keeps_counters_not_gauges)
{
	qp_totals_add_generation(&retired, &gen);
	qp_totals_drop_gauges(&retired);
	TAILQ_REMOVE(&generations, &gen, next);
	print();
	cr_expect_eq(value("quicport_tunnels_active"), 0);
	cr_expect_eq(value("quicport_mbufs_capacity"), 0);
	cr_expect_eq(value("quicport_tunnels_total"), 14);
	cr_expect_eq(value("quicport_bytes_sent_total"), 300);
	cr_expect_null(strstr(text, "dp_id="), "a dead data plane is listed");
}

Test(metrics, round_trips_are_histograms)
{
	qp_shared_worker(block, 0)->tcp_rtt.bucket[0] = 3;
	qp_shared_worker(block, 1)->tcp_rtt.bucket[1] = 2;
	qp_shared_worker(block, 1)->tcp_rtt.bucket[QP_RTT_BUCKETS - 1] = 1;
	qp_shared_worker(block, 1)->tcp_rtt.sum_us = 7000000;
	print();
	cr_expect_eq(value("quicport_tcp_rtt_seconds_bucket{le=\"6.4e-05\"}"), 3);
	cr_expect_eq(value("quicport_tcp_rtt_seconds_bucket{le=\"0.000128\"}"), 5);
	cr_expect_eq(value("quicport_tcp_rtt_seconds_bucket{le=\"2.09715\"}"), 5);
	cr_expect_eq(value("quicport_tcp_rtt_seconds_bucket{le=\"+Inf\"}"), 6);
	cr_expect_eq(value("quicport_tcp_rtt_seconds_count"), 6);
	cr_expect_float_eq(value("quicport_tcp_rtt_seconds_sum"), 7, 1e-9);
}

Test(metrics, drops_and_resets_have_a_cause)
{
	qp_shared_worker(block, 0)->c.tx_dropped = 4;
	qp_shared_worker(block, 1)->c.drop_quic_bad = 6;
	print();
	cr_expect_eq(value("quicport_drops_total{layer=\"ip\",reason=\"not_ip\"}"), 1);
	cr_expect_eq(value("quicport_drops_total{layer=\"port\",reason=\"transmit_full\"}"), 4);
	cr_expect_eq(value("quicport_drops_total{layer=\"quic\",reason=\"quic_bad\"}"), 6);
	cr_expect_eq(value("quicport_drops_total{layer=\"tcp\",reason=\"paws\"}"), 0);
	cr_expect_eq(value("quicport_drops_total{layer=\"udp\",reason=\"limit\"}"), 0);
	cr_expect_null(strstr(text, "reason=\"ip\""), "a sum stands among its parts");
	cr_expect_eq(value("quicport_tcp_resets_sent_total{cause=\"timeout\"}"), 0);
}

Test(metrics, dedicated_ports_counters_in_nic_mode_alone)
{
	struct qp_totals t = {.net = {0}};
	json_t *drops;

	print();
	cr_expect_null(strstr(text, "quicport_net_"), "nobody counts them in host mode");
	cr_expect_null(strstr(text, "layer=\"net\""));
	qp_shared_worker(block, 0)->net[0] = 3; /* neighbours */
	qp_shared_worker(block, 1)->net[0] = 4;
	qp_shared_worker(block, 1)->net[2] = 9; /* up */
	print();
	cr_expect_eq(value("quicport_net_neighbours"), 7);
	cr_expect_eq(value("quicport_net_up_total"), 9);
	cr_expect_eq(value("quicport_worker_net_neighbours{dp_id=\"0x3039\",worker=\"1\"}"), 4);
	cr_expect_eq(value("quicport_drops_total{layer=\"net\",reason=\"vlan\"}"), 0);
	for (size_t i = 0; i < QP_SHARED_NET_COUNTERS; i++)
		t.net[i] = 1;
	drops = qp_totals_drops(&t);
	cr_expect_eq(json_integer_value(json_object_get(drops, "net_drop_vlan")), 1);
	json_decref(drops);
}

Test(metrics, rings_show_what_waits)
{
	print();
	cr_expect_eq(value("quicport_ring_messages{dp_id=\"0x3039\",worker=\"1\",ring=\"to_control\"}"),
		11);
	cr_expect_eq(
		value("quicport_ring_messages{dp_id=\"0x3039\",worker=\"0\",ring=\"from_control\"}"),
		20);
}

/* Of a histogram's samples: the length of the metric's own name. */
static size_t
without_suffix(const char *line, size_t len)
{
	static const char *const suffixes[] = {"_bucket", "_sum", "_count"};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && strncmp(line + len - n, suffixes[i], n) == 0)
			return len - n;
	}
	return len;
}

/*
 * Text format 0.0.4: each metric has one HELP and one TYPE, samples stand right
 * below, counters end in _total and nothing else does.
 */
Test(metrics, text_is_in_prometheus_format)
{
	/* strtok cuts it up; the suite frees it. */
	char *save = NULL, name[128] = "", type[16] = "";
	char seen[32768] = " ";

	print();
	for (char *line = strtok_r(text, "\n", &save); line != NULL;
		line = strtok_r(NULL, "\n", &save)) {
		size_t len;

		if (strncmp(line, "# HELP ", 7) == 0) {
			char key[130];

			len = strcspn(line + 7, " ");
			snprintf(name, sizeof(name), "%.*s", (int)len, line + 7);
			snprintf(key, sizeof(key), " %s ", name);
			cr_assert_null(strstr(seen, key), "%s stands twice", name);
			strncat(seen, key + 1, sizeof(seen) - strlen(seen) - 1);
			cr_expect(isalpha((unsigned char)line[8 + len]), "no help: %s", line);
			continue;
		}
		if (strncmp(line, "# TYPE ", 7) == 0) {
			cr_assert_eq(sscanf(line, "# TYPE %*s %15s", type), 1);
			len = strlen(name);
			cr_expect_eq(strcmp(type, "counter") == 0,
				len > 6 && strcmp(name + len - 6, "_total") == 0, "%s is a %s",
				name, type);
			continue;
		}
		len = strcspn(line, "{ ");
		if (strcmp(type, "histogram") == 0)
			len = without_suffix(line, len);
		cr_assert_eq(len, strlen(name), "stray sample: %s", line);
		cr_assert_arr_eq(line, name, len, "stray sample: %s", line);
		cr_expect_not_null(strrchr(line, ' '));
		cr_expect(isdigit((unsigned char)strrchr(line, ' ')[1]), "no value: %s", line);
	}
}
