/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of DPDK's telemetry. Runs on EAL's telemetry thread, and only reads. */
#include "dataplane/telemetry.h"

#include <ctype.h>
#include <errno.h>
#include <rte_memzone.h>
#include <rte_telemetry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/shared.h"

/* A generation's block; NULL: there is none, or it is of a release that is too far from this one. */
static const struct qp_gen_shared *
find_generation(unsigned long server_id, struct qp_shared_view *view)
{
	const struct rte_memzone *zone;
	char name[RTE_MEMZONE_NAMESIZE];

	if (server_id > UINT16_MAX)
		return NULL;
	snprintf(name, sizeof(name), QP_SHARED_NAME, (unsigned)server_id);
	zone = rte_memzone_lookup(name);
	if (zone == NULL || qp_shared_open(view, zone->addr, zone->len, NULL) != 0)
		return NULL;
	return zone->addr;
}

/* "0x3039" at the front of `params`; `*rest` is what follows it. */
static const struct qp_gen_shared *
generation_of(const char *params, const char **rest, struct qp_shared_view *view)
{
	unsigned long id;
	char *end;

	if (params == NULL || !isxdigit((unsigned char)params[0]))
		return NULL;
	id = strtoul(params, &end, 16);
	*rest = end;
	return find_generation(id, view);
}

/* The worker that "0x3039,0" names; false: there is none, which telemetry answers with null. */
static bool
worker_of(const char *params, struct qp_shared_view *view, uint32_t *worker)
{
	unsigned long n;
	char *end;

	if (generation_of(params, &params, view) == NULL || params[0] != ',' ||
		!isdigit((unsigned char)params[1]))
		return false;
	n = strtoul(params + 1, &end, 10);
	*worker = (uint32_t)n;
	return *end == '\0' && n < view->nworkers;
}

static void
add_zone(const struct rte_memzone *zone, void *arg)
{
	struct rte_tel_data *d = arg;
	char text[16];
	unsigned id;
	int len = 0;

	if (sscanf(zone->name, QP_SHARED_NAME "%n", &id, &len) != 1 || zone->name[len] != '\0')
		return;
	snprintf(text, sizeof(text), "0x%04x", id);
	rte_tel_data_add_array_string(d, text);
}

static int
data_planes(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	(void)params;
	rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
	rte_memzone_walk(add_zone, d);
	return 0;
}

static int
info(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct qp_shared_view view;
	const struct qp_gen_shared *s = generation_of(params, &params, &view);

	(void)cmd;
	if (s == NULL || params[0] != '\0')
		return -EINVAL;
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "pid", (uint64_t)s->pid);
	rte_tel_data_add_dict_u64(d, "workers", view.nworkers);
	rte_tel_data_add_dict_u64(d, "started_at", s->started_at);
	return 0;
}

static bool
starts_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/*
 * The single counters whose names begin with `prefix`, without it; "": those of
 * the worker itself. By the names that the data plane gives them, so that this
 * process, which is older than most, shows what it does not know, too.
 */
static void
add_counters(struct rte_tel_data *d, const struct qp_shared_view *v, uint32_t w, const char *prefix)
{
	struct qp_shared_name name;

	for (uint32_t i = 0; i < v->nnames; i++) {
		if (!qp_shared_name(v, i, &name) || name.n != 1 || !starts_with(name.name, prefix))
			continue;
		if (prefix[0] == '\0' &&
			(starts_with(name.name, "tcp_") || starts_with(name.name, "udp_") ||
				starts_with(name.name, "net_") || starts_with(name.name, "nic_") || starts_with(name.name, "ip_")))
			continue;
		rte_tel_data_add_dict_u64(
			d, name.name + strlen(prefix), qp_shared_word(v, w, &name, 0));
	}
}

static int
counters(const char *params, struct rte_tel_data *d, const char *prefix)
{
	struct qp_shared_view view;
	uint32_t w;

	if (!worker_of(params, &view, &w))
		return -EINVAL;
	rte_tel_data_start_dict(d);
	add_counters(d, &view, w, prefix);
	return 0;
}

static int
worker(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return counters(params, d, "");
}

static int
tcp(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return counters(params, d, "tcp_");
}

static int
udp(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return counters(params, d, "udp_");
}

static int
net(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return counters(params, d, "net_");
}

static int
nic(const char *cmd, const char *params, struct rte_tel_data *d)
{
	(void)cmd;
	return counters(params, d, "nic_");
}

#define OFFSET(member) offsetof(struct qp_worker_shared, member)

static int
drops(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct qp_shared_view view;
	uint32_t w;

	(void)cmd;
	if (!worker_of(params, &view, &w))
		return -EINVAL;
	rte_tel_data_start_dict(d);
	if (qp_shared_has(&view, OFFSET(c.tx_dropped)))
		rte_tel_data_add_dict_u64(
			d, "transmit_full", qp_shared_count(&view, w, OFFSET(c.tx_dropped)));
	if (qp_shared_has(&view, OFFSET(c.rx_nombuf)))
		rte_tel_data_add_dict_u64(
			d, "no_mbuf", qp_shared_count(&view, w, OFFSET(c.rx_nombuf)));
	add_counters(d, &view, w, "ip_");
	return 0;
}

/* "tcp_less_than_64_us": 3, … */
static void
add_histogram(struct rte_tel_data *d, const char *of, const struct qp_rtt_histogram *h)
{
	char name[RTE_TEL_MAX_STRING_LEN];

	for (unsigned i = 0; i < QP_RTT_BUCKETS; i++) {
		if (i + 1 < QP_RTT_BUCKETS)
			snprintf(name, sizeof(name), "%s_less_than_%llu_us", of,
				(unsigned long long)QP_RTT_FIRST_US << i);
		else
			snprintf(name, sizeof(name), "%s_more", of);
		rte_tel_data_add_dict_u64(d, name, h->bucket[i]);
	}
	snprintf(name, sizeof(name), "%s_sum_us", of);
	rte_tel_data_add_dict_u64(d, name, h->sum_us);
}

static int
rtt(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct qp_worker_shared counts;
	struct qp_shared_view view;
	uint32_t w;

	(void)cmd;
	if (!worker_of(params, &view, &w))
		return -EINVAL;
	qp_shared_copy(&view, w, &counts);
	rte_tel_data_start_dict(d);
	if (qp_shared_has(&view, OFFSET(tcp_rtt)))
		add_histogram(d, "tcp", &counts.tcp_rtt);
	if (qp_shared_has(&view, OFFSET(quic_rtt)))
		add_histogram(d, "quic", &counts.quic_rtt);
	return 0;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

int
qp_telemetry_register(void)
{
	static const struct {
		const char *path;
		telemetry_cb run;
		const char *help;
	} endpoints[] = {
		{"/quicport/data_planes", data_planes, "The data planes' ids. No parameters"},
		{"/quicport/info", info, "A data plane. Parameter: its dp_id"},
		{"/quicport/worker", worker, "A worker's counters. Parameters: dp_id, worker"},
		{"/quicport/tcp", tcp, "A worker's TCP counters. Parameters: dp_id, worker"},
		{"/quicport/udp", udp, "A worker's UDP counters. Parameters: dp_id, worker"},
		{"/quicport/net", net, "What it did for dedicated ports. Parameters: dp_id, worker"},
		{"/quicport/nic", nic, "Whose what it received was. Parameters: dp_id, worker"},
		{"/quicport/drops", drops, "Frames that it dropped. Parameters: dp_id, worker"},
		{"/quicport/rtt", rtt, "Its round-trip times. Parameters: dp_id, worker"},
	};
	int err = 0;

	for (size_t i = 0; i < COUNT(endpoints) && err == 0; i++)
		err = rte_telemetry_register_cmd(
			endpoints[i].path, endpoints[i].run, endpoints[i].help);
	return err;
}
