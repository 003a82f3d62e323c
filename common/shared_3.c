/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of ring protocol 3, whose block has them without names, at places
 * that its release compiled in. Goes when 3 is no neighbour any more.
 */
#include "common/shared_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Each word after the one before. */
static const char worker[] =
	"loops sleeps cycles_busy cycles_idle rx_frames rx_bytes rx_bursts tx_bursts tx_frames "
	"tx_bytes rx_nombuf rx_again rx_syns rx_unknown strangers_held tx_dropped mbufs_in_use "
	"mbufs_total quic_packets_in quic_packets_out quic_handshakes quic_handshakes_failed "
	"quic_connections quic_retries_sent quic_version_negotiations quic_stateless_resets "
	"quic_migrations quic_packets_lost tunnels_active tunnels_total conns_active conns_total "
	"conns_refused client_conns_refused client_rate_refused client_sources_refused client_waits "
	"local_conns_total local_conns_failed local_conns_refused local_conns_unpaired "
	"relay_bytes_in relay_bytes_out relay_queued_bytes relay_stalls ended_conns_untold "
	"ctl_ring_full drop_not_ours drop_quic_bad drop_quic_no_memory drop_quic_limit drop_ip ";
static const char tcp[] =
	"passive_opens active_opens established conns held_bytes segs_in segs_out bytes_in bytes_out "
	"retrans_segs retrans_bytes rto_fired fast_recoveries ooo_segs dup_segs rst_in rst_out "
	"rst_stray rst_refused rst_aborted rst_timeout rst_no_memory rst_closed rst_limited "
	"challenge_acks zero_window_probes ecn_marks_in ecn_reductions drop_no_listener "
	"drop_cookie_early drop_bad_segment drop_out_of_window drop_paws drop_no_memory "
	"drop_ooo_limit drop_backlog drop_no_port syn_cookies_sent syn_cookies_ok icmp_ignored "
	"icmp_mtu_taken icmp_mtu_pending icmp_mtu_refuted mtu_black_holes mtu_probes mtu_probes_lost "
	"mtu_raised zero_windows_ended slow_peers_ended tiny_segs dup_bytes sack_bad sack_limited "
	"sack_reneged ack_unsent ack_early rst_blind syn_blind time_wait_evicted drop_source_limit "
	"fastopen_cookies fastopen_ok fastopen_invalid fastopen_over_limit ";
static const char udp[] =
	"flows flows_opened flows_idle flows_reclaimed flows_refused flows_bad_record "
	"flows_unreachable datagrams_in datagrams_out bytes_in bytes_out queued_bytes "
	"super_segments_out drop_no_port drop_limit drop_tunnel_limit drop_client_limit drop_source "
	"drop_bandwidth_in drop_bandwidth_out drop_no_stream drop_queue_full drop_no_memory "
	"drop_too_long no_local_port fragments_in fragments_out reassembled fragment_timeouts "
	"fragment_limit fragment_bad fragment_overlap fragment_twice icmp_sent icmp_limited "
	"icmp_mtu_taken icmp_ignored ";
static const char ip[] =
	"short not_ip bad_header bad_ip_cksum bad_l4_cksum fragment ext_header proto bad_addr ";

#define NAMES_MAX 224u
#define WORD      ((uint32_t)sizeof(uint64_t))

static struct qp_shared_name names[NAMES_MAX];
static uint32_t nnames;

static void
add(const char *prefix, const char *name, int len, uint32_t at, uint16_t n)
{
	struct qp_shared_name *to = &names[nnames++];

	snprintf(to->name, sizeof(to->name), "%s%.*s", prefix, len, name);
	to->at = at;
	to->n = n;
	to->flags = qp_counter_is_gauge(to->name) ? QP_SHARED_GAUGE : 0;
}

static void
add_all(const char *prefix, const char *list, uint32_t at)
{
	for (const char *end; (end = strchr(list, ' ')) != NULL; list = end + 1, at += WORD)
		add(prefix, list, (int)(end - list), at, 1);
}

static void
make(void)
{
	add_all("", worker, 0);
	add_all("tcp_", tcp, 416);
	add_all("udp_", udp, 1056);
	add_all("ip_", ip, 1440);
	add("", "tcp_rtt", 7, 1568, 18);
	add("", "quic_rtt", 8, 1712, 18);
}

const struct qp_shared_name *
qp_shared_names_of_3(uint32_t *n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make);
	*n = nnames;
	return names;
}
