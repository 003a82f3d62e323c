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

#include "common/ipc.h"

static uint64_t
read_shared(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* A generation's block; NULL: there is none, or it is of another release than this process. */
static const struct qp_gen_shared *
find_generation(unsigned long server_id)
{
	const struct rte_memzone *zone;
	char name[RTE_MEMZONE_NAMESIZE];
	const struct qp_gen_shared *s;

	if (server_id > UINT16_MAX)
		return NULL;
	snprintf(name, sizeof(name), QP_SHARED_NAME, (unsigned)server_id);
	zone = rte_memzone_lookup(name);
	if (zone == NULL || zone->len < sizeof(*s))
		return NULL;
	s = zone->addr;
	return s->version == QP_IPC_VERSION && s->layout == qp_counters_layout() ? s : NULL;
}

/* "0x3039" at the front of `params`; `*rest` is what follows it. */
static const struct qp_gen_shared *
generation_of(const char *params, const char **rest)
{
	unsigned long id;
	char *end;

	if (params == NULL || !isxdigit((unsigned char)params[0]))
		return NULL;
	id = strtoul(params, &end, 16);
	*rest = end;
	return find_generation(id);
}

/* The worker that "0x3039,0" names; NULL: there is none, which telemetry answers with null. */
static const struct qp_worker_shared *
worker_of(const char *params)
{
	const struct qp_gen_shared *s = generation_of(params, &params);
	unsigned long n;
	char *end;

	if (s == NULL || params[0] != ',' || !isdigit((unsigned char)params[1]))
		return NULL;
	n = strtoul(params + 1, &end, 10);
	return *end == '\0' && n < s->nworkers ? &s->worker[n] : NULL;
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
	const struct qp_gen_shared *s = generation_of(params, &params);

	(void)cmd;
	if (s == NULL || params[0] != '\0')
		return -EINVAL;
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "pid", (uint64_t)s->pid);
	rte_tel_data_add_dict_u64(d, "workers", s->nworkers);
	rte_tel_data_add_dict_u64(d, "started_at", s->started_at);
	return 0;
}

static int
worker(const char *cmd, const char *params, struct rte_tel_data *d)
{
	const struct qp_worker_shared *w = worker_of(params);

	(void)cmd;
	if (w == NULL)
		return -EINVAL;
	rte_tel_data_start_dict(d);
#define X(field, help) rte_tel_data_add_dict_u64(d, #field, read_shared(&w->c.field));
	QP_WORKER_COUNTERS(X)
#undef X
	return 0;
}

/* Values of an array in the order of an X-macro list. */
static void
add_list(struct rte_tel_data *d, const char *const *names, size_t n, const uint64_t *values)
{
	for (size_t i = 0; i < n; i++)
		rte_tel_data_add_dict_u64(d, names[i], read_shared(&values[i]));
}

#define NAME(field, help) #field,
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int
tcp(const char *cmd, const char *params, struct rte_tel_data *d)
{
	static const char *const names[] = {QP_TCP_COUNTERS(NAME)};
	const struct qp_worker_shared *w = worker_of(params);

	(void)cmd;
	if (w == NULL)
		return -EINVAL;
	rte_tel_data_start_dict(d);
	add_list(d, names, COUNT(names), w->tcp);
	return 0;
}

static int
udp(const char *cmd, const char *params, struct rte_tel_data *d)
{
	static const char *const names[] = {QP_UDP_COUNTERS(NAME)};
	const struct qp_worker_shared *w = worker_of(params);

	(void)cmd;
	if (w == NULL)
		return -EINVAL;
	rte_tel_data_start_dict(d);
	add_list(d, names, COUNT(names), w->udp);
	return 0;
}

static int
drops(const char *cmd, const char *params, struct rte_tel_data *d)
{
	static const char *const names[] = {QP_IP_DROPS(NAME)};
	const struct qp_worker_shared *w = worker_of(params);

	(void)cmd;
	if (w == NULL)
		return -EINVAL;
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "transmit_full", read_shared(&w->c.tx_dropped));
	rte_tel_data_add_dict_u64(d, "no_mbuf", read_shared(&w->c.rx_nombuf));
	add_list(d, names, COUNT(names), w->ip_drops);
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
		rte_tel_data_add_dict_u64(d, name, read_shared(&h->bucket[i]));
	}
	snprintf(name, sizeof(name), "%s_sum_us", of);
	rte_tel_data_add_dict_u64(d, name, read_shared(&h->sum_us));
}

static int
rtt(const char *cmd, const char *params, struct rte_tel_data *d)
{
	const struct qp_worker_shared *w = worker_of(params);

	(void)cmd;
	if (w == NULL)
		return -EINVAL;
	rte_tel_data_start_dict(d);
	add_histogram(d, "tcp", &w->tcp_rtt);
	add_histogram(d, "quic", &w->quic_rtt);
	return 0;
}

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
		{"/quicport/drops", drops, "Frames that it dropped. Parameters: dp_id, worker"},
		{"/quicport/rtt", rtt, "Its round-trip times. Parameters: dp_id, worker"},
	};
	int err = 0;

	for (size_t i = 0; i < COUNT(endpoints) && err == 0; i++)
		err = rte_telemetry_register_cmd(
			endpoints[i].path, endpoints[i].run, endpoints[i].help);
	return err;
}
