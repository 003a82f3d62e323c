/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_OWNER_ARGS_H
#define QP_DATAPLANE_NIC_OWNER_ARGS_H

#include "common/ipc.h"
#include "common/nic.h"
#include "common/opt.h"

/*
 * The dedicated ports on the port owner's command line. Those that name a port
 * by its number (--mtu 9000@1) have to come after it.
 */
#define QP_OPT_PORTS(ports)                                                                        \
	QP_OPT_GROUP("Dedicated ports:"),                                                          \
	{.name = "port", .arg = "PCI|VDEV[,ARGS]", .env = "", .repeat = true,                      \
		.help = "a network port to open: a PCI address, or a DPDK device such as "         \
			"net_memif0,role=server,socket=/run/x.sock",                               \
		.parse = qp_opt_owner_port, .value = (ports)},                                     \
	{.name = "queues", .arg = "N", .env = "", .fallback = "1", .min = 1,                       \
		.max = QP_NIC_MAX_QUEUES, .help = "receive queues of each port: one a worker",     \
		.parse = qp_opt_u32, .value = &(ports)->queues},                                   \
	{.name = "slots", .arg = "N", .env = "", .fallback = "4", .min = 1,                        \
		.max = QP_NIC_MAX_GENS,                                                            \
		.help = "generations that can send at once: so many transmit queues for each "     \
			"receive queue, where the device has them",                                \
		.parse = qp_opt_u32, .value = &(ports)->slots},                                    \
	{.name = "port-mbufs", .arg = "N", .env = "", .fallback = "16384", .min = 2048,            \
		.max = 16777216, .help = "packet buffers of 2 KiB for each receive queue",         \
		.parse = qp_opt_u32, .value = &(ports)->mbufs},                                    \
	{.name = "mtu", .arg = "BYTES[@PORT]", .env = "", .repeat = true,                          \
		.help = "largest IP packet of a port, which counts from 0",                        \
		.parse = qp_opt_owner_mtu, .value = (ports)},                                      \
	{.name = "vlan", .arg = "ID[@PORT]", .env = "", .repeat = true,                            \
		.help = "the packets of a port have this 802.1Q tag",                              \
		.parse = qp_opt_owner_vlan, .value = (ports)}

/* [struct qp_owner_ports] */
int qp_opt_owner_port(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_owner_mtu(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_owner_vlan(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);

#endif
