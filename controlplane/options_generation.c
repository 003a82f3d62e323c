/* SPDX-License-Identifier: Apache-2.0 */
/* Options that a data plane reads at its start, so that they count for the next one. Loop thread. */
#include <string.h>

#include "controlplane/options.h"

static const char *const names[] = {"audit-connections", "busy-poll", "lcores", "orphan-timeout",
	"quic-idle-timeout", "quic-keep-alive", "tcp-buffer", "tcp-congestion", "tcp-ecn",
	"tcp-fast-open", "tcp-keepalive", "tcp-max-connections", "tcp-max-per-source", "tcp-pacing",
	"tcp-user-timeout", "tcp-zero-window-timeout", "udp-idle-timeout", "udp-max-flows",
	"udp-max-flows-per-tunnel", "workers"};

bool
qp_options_of_generation(const char *option)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(option, names[i]) == 0)
			return true;
	}
	return false;
}

void
qp_options_take_generation(struct qp_options *to, const struct qp_options *from)
{
	to->audit_conns = from->audit_conns;
	to->busy_poll = from->busy_poll;
	to->orphan_timeout_s = from->orphan_timeout_s;
	to->idle_timeout_s = from->idle_timeout_s;
	to->keep_alive_s = from->keep_alive_s;
	to->tcp_buffer_kib = from->tcp_buffer_kib;
	to->tcp_congestion = from->tcp_congestion;
	to->tcp_ecn = from->tcp_ecn;
	to->tcp_fast_open = from->tcp_fast_open;
	to->tcp_keepalive_s = from->tcp_keepalive_s;
	to->tcp_max_conns = from->tcp_max_conns;
	to->tcp_max_per_source = from->tcp_max_per_source;
	to->tcp_pacing = from->tcp_pacing;
	to->tcp_user_timeout_s = from->tcp_user_timeout_s;
	to->tcp_zero_window_s = from->tcp_zero_window_s;
	to->udp_idle_timeout_s = from->udp_idle_timeout_s;
	to->udp_max_flows = from->udp_max_flows;
	to->udp_max_flows_per_tunnel = from->udp_max_flows_per_tunnel;
	to->workers = from->workers;
	qp_nic_options_take_lcores(&to->nic, &from->nic);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		qp_settings_put_back(&to->settings, &from->settings, names[i]);
}
