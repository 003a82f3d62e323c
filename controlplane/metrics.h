/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_METRICS_H
#define QP_CONTROLPLANE_METRICS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/classifier.h"
#include "common/ipc.h"
#include "controlplane/audit.h"
#include "controlplane/authd.h"
#include "controlplane/generation.h"
#include "controlplane/hostnet.h"
#include "controlplane/state.h"

/*
 * /metrics: Prometheus text format 0.0.4. Sums are named quicport_FIELD and
 * never go back when a data plane ends; the same by worker are
 * quicport_worker_FIELD{dp_id,worker}. Counters end in _total, gauges do not.
 * Owner: the loop thread.
 */

/*
 * Values of the fields of struct qp_worker_shared, summed. Those that no data
 * plane has are left out wherever they would be shown.
 */
struct qp_totals {
	struct qp_worker_counters c;
	uint64_t tcp[QP_SHARED_TCP_COUNTERS];
	uint64_t udp[QP_SHARED_UDP_COUNTERS];
	uint64_t ip_drops[QP_SHARED_IP_DROPS];
	uint64_t net[QP_SHARED_NET_COUNTERS]; /* all 0 in host mode, and not shown then */
	uint64_t nic[QP_SHARED_NIC_COUNTERS]; /* likewise */
	struct qp_rtt_histogram tcp_rtt;
	struct qp_rtt_histogram quic_rtt;
	bool added; /* somebody's counters; before that, all that we know are there */
	uint8_t has[QP_WORKER_WORDS]; /* 1: one of them has the word at this place above */
};

/* Whether somebody has the counter at `offset` of struct qp_totals. */
bool qp_totals_has(const struct qp_totals *t, size_t offset);
/* Adds the counters of all workers of a block, if they can be read. */
struct qp_shared_view;
void qp_totals_add_view(struct qp_totals *t, const struct qp_shared_view *v);
/* Adds the counters of all its workers. A generation without a link adds nothing. */
void qp_totals_add_generation(struct qp_totals *t, const struct qp_generation *g);
/* Zeroes the gauges: what is "now" ends with a data plane, what is counted stays. */
void qp_totals_drop_gauges(struct qp_totals *t);

/*
 * What was dropped, by reason: an object of numbers, named as in /metrics without
 * prefix and suffix; those that are 0 are left out. NULL when out of memory.
 */
json_t *qp_totals_drops(const struct qp_totals *t);

struct qp_nic;
struct qp_usage;

/* How many entries a table has. */
struct qp_metrics_entries {
	const char *name;
	uint64_t entries;
};

#define QP_METRICS_TABLES 16u
#define QP_METRICS_MAPS 8u

struct qp_metrics {
	uint64_t uptime_s;
	const struct qp_authd_counters *auth;
	const struct qp_totals *retired; /* of the data planes that have ended */
	const struct qp_generations *generations;
	uint64_t data_plane_starts;
	uint64_t data_plane_deaths; /* of those that served: ended without being told to */
	uint64_t data_plane_hangs;  /* of them, killed for giving no sign of life */
	unsigned deaths_in_a_row;   /* soon after their start; 0: all is well */
	unsigned restart_wait_ms;   /* until the next one is started */
	uint64_t farewells; /* clients of dead ones that were told */
	uint64_t data_plane_failed_starts; /* ended before they served */
	uint64_t handovers_done, handovers_failed, handovers_refused;
	uint64_t messages_dropped; /* answers that found a full ring */
	uint64_t messages_ignored; /* that only another release has */
	const uint64_t *classifier; /* [QP_CLS_NCOUNTERS]; NULL: not known */
	struct qp_usage *usage; /* NULL: none */
	unsigned ports_open;
	unsigned tunnels_waiting; /* for their client's proof */
	unsigned leases;
	const struct qp_audit_stats *audit; /* NULL: there is no audit log */
	const struct qp_state_stats *state; /* NULL: not known */
	/* What is held. */
	pid_t owner_pid; /* 0: not known */
	bool owner_up;
	bool owner_answers;
	uint64_t data_plane_heap; /* the data planes' budget, each; 0: no limit */
	struct qp_metrics_entries table[QP_METRICS_TABLES];
	unsigned ntables;
	struct qp_hostnet_entries map[QP_METRICS_MAPS];
	unsigned nmaps;
	const struct qp_nic *nic; /* dedicated ports; NULL: there are none */
};

/* The whole text, from malloc; NULL when out of memory. */
char *qp_metrics_text(const struct qp_metrics *m, size_t *len);

#endif
