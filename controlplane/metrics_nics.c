/* SPDX-License-Identifier: Apache-2.0 */
/* Dedicated ports in /metrics; host mode has none of these. Loop thread. */
#include <inttypes.h>

#include "common/nic.h"
#include "controlplane/metrics_impl.h"

static void
row(FILE *out, const char *name, const struct qp_nic *nic, unsigned port, uint64_t value)
{
	fprintf(out, "quicport_%s{nic=\"%u\",device=\"%s\",driver=\"%s\"} %" PRIu64 "\n", name, port,
		nic->port[port].name, nic->port[port].driver, value);
}

static uint32_t
mbps(const struct qp_nic *nic, unsigned port)
{
	return __atomic_load_n(&nic->port[port].link_mbps, __ATOMIC_RELAXED);
}

static unsigned
polled(const struct qp_nic *nic, unsigned port)
{
	unsigned n = 0;

	for (unsigned q = 0; q < nic->port[port].nrx && q < QP_NIC_MAX_QUEUES; q++)
		n += __atomic_load_n(&nic->queue[port][q].polled_by, __ATOMIC_RELAXED) != 0;
	return n;
}

static unsigned
slots_taken(const struct qp_nic *nic)
{
	unsigned n = 0;

	for (unsigned i = 0; i < QP_NIC_MAX_GENS; i++)
		n += nic->gen[i].server_id != 0;
	return n;
}

void
qp_metrics_nics(FILE *out, const struct qp_nic *nic)
{
	if (nic == NULL)
		return;
	qp_metrics_head(out, "port_up", "1: a dedicated port's link is up", "gauge");
	for (unsigned p = 0; p < nic->nports; p++)
		row(out, "port_up", nic, p, mbps(nic, p) != 0);
	qp_metrics_head(out, "port_link_mbps", "its speed; none where the driver does not tell", "gauge");
	for (unsigned p = 0; p < nic->nports; p++) {
		if (mbps(nic, p) != UINT32_MAX)
			row(out, "port_link_mbps", nic, p, mbps(nic, p));
	}
	qp_metrics_head(out, "port_mtu_bytes", "its largest IP packet", "gauge");
	for (unsigned p = 0; p < nic->nports; p++)
		row(out, "port_mtu_bytes", nic, p, nic->net.link[p].mtu);
	qp_metrics_head(out, "port_rx_queues", "its receive queues", "gauge");
	for (unsigned p = 0; p < nic->nports; p++)
		row(out, "port_rx_queues", nic, p, nic->port[p].nrx);
	qp_metrics_head(out, "port_rx_queues_polled", "of these, those that a data plane polls now", "gauge");
	for (unsigned p = 0; p < nic->nports; p++)
		row(out, "port_rx_queues_polled", nic, p, polled(nic, p));
	qp_metrics_head(out, "port_slots", "data planes that can send by it at once", "gauge");
	for (unsigned p = 0; p < nic->nports; p++)
		row(out, "port_slots", nic, p, nic->port[p].nslots);
	qp_metrics_head(out, "port_slots_taken", "data planes that have a transmit slot now", "gauge");
	fprintf(out, "quicport_port_slots_taken %u\n", slots_taken(nic));
}
