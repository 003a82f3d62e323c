/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_OPTIONS_NIC_H
#define QP_CONTROLPLANE_OPTIONS_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "common/nic.h"
#include "common/opt.h"

/*
 * Nic mode's options: ports that the gateway has for itself, and what it is
 * called there. Pure; main or loop thread.
 */
#define QP_NIC_ANY_PORT 0xffu /* a value without @PORT: of all ports, or to be found out */

/* ID or BYTES, of one port or of all. */
struct qp_nic_value {
	uint32_t value;
	uint8_t port; /* QP_NIC_ANY_PORT: all that have none of their own */
};

struct qp_nic_options {
	struct qp_opt_strings ports; /* DPDK's device arguments; none: host mode */
	unsigned naddrs, nroutes, ngateways, nvlans, nmtus;
	struct qp_nic_addr addr[QP_NIC_MAX_ADDRS];
	struct qp_nic_route route[QP_NIC_MAX_ROUTES];
	struct qp_nic_route gateway[2]; /* default routes; `port` as in `route`: perhaps QP_NIC_ANY_PORT */
	struct qp_nic_value vlan[QP_NIC_MAX_PORTS + 1];
	struct qp_nic_value mtu[QP_NIC_MAX_PORTS + 1];
	bool accept_ra;
	uint32_t generations; /* data planes that the ports have transmit queues for, at most */
	const char *lcores; /* as given, NULL: the gateway chooses CPUs */
	unsigned nlcores;
	uint16_t lcore[QP_MAX_WORKERS];
	bool workers_given;
};

#define QP_NIC_MTU_DEFAULT 1500u
#define QP_NIC_MTU_LEAST   576u
#define QP_NIC_MTU_LEAST_6 1280u /* RFC 8200, 5 */
#define QP_NIC_MTU_MOST    65000u /* a buffer chain of the largest driver */
#define QP_NIC_DEVICE_BYTES 256u /* of --port, with its NUL */

/* Parsers; `value` is the struct qp_nic_options. */
int qp_opt_nic_port(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_nic_ip(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_nic_gateway(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_nic_route(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_nic_vlan(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_nic_mtu(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);
int qp_opt_nic_lcores(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg);

#define QP_OPT_NIC(n)                                                                              \
	QP_OPT_GROUP("Dedicated ports (nic mode; without --port the host's interfaces are used):"),\
	{.name = "port", .arg = "DEVICE", .env = "", .repeat = true,                               \
		.help = "a port that is the gateway's alone, by DPDK's name: a PCI address, or a " \
			"virtual device with its arguments (net_tap0,iface=qp0)",                  \
		.parse = qp_opt_nic_port, .value = (n)},                                           \
	{.name = "ip", .arg = "ADDR/LEN[@PORT]", .repeat = true,                                   \
		.help = "the gateway's address there, and its network; PORT is the number of a "   \
			"--port, 0 for the first and by default",                                  \
		.parse = qp_opt_nic_ip, .value = (n)},                                             \
	{.name = "gateway", .arg = "ADDR[@PORT]", .repeat = true,                                  \
		.help = "the default router, one for IPv4 and one for IPv6; @PORT for a "          \
			"link-local one",                                                          \
		.parse = qp_opt_nic_gateway, .value = (n)},                                        \
	{.name = "route", .arg = "NET/LEN=VIA[@PORT]", .repeat = true,                             \
		.help = "another router, for that network",                                        \
		.parse = qp_opt_nic_route, .value = (n)},                                          \
	{.name = "vlan", .arg = "ID[@PORT]", .repeat = true,                                       \
		.help = "the 802.1Q network on a port, or on all (default: untagged)",             \
		.parse = qp_opt_nic_vlan, .value = (n)},                                           \
	{.name = "mtu", .arg = "BYTES[@PORT]", .repeat = true,                                     \
		.help = "the largest IP packet on a port, or on all (default: 1500)",              \
		.parse = qp_opt_nic_mtu, .value = (n)},                                            \
	{.name = "accept-ra",                                                                      \
		.help = "take the IPv6 default route from routers' advertisements",                \
		.parse = qp_opt_flag, .value = &(n)->accept_ra},                                   \
	{.name = "port-generations", .arg = "N", .fallback = "4", .min = 2, .max = QP_NIC_MAX_GENS, \
		.help = "data planes that can send by a port at once: each worker has so many "    \
			"transmit queues, where the device has them",                              \
		.parse = qp_opt_u32, .value = &(n)->generations}

/* Below "Data plane:", since it counts in host mode, too. */
#define QP_OPT_LCORES(n)                                                                           \
	{.name = "lcores", .arg = "LIST",                                                          \
		.help = "the CPUs of the workers, one each (0-3,8), instead of --workers and "     \
			"CPUs that the gateway chooses",                                           \
		.parse = qp_opt_nic_lcores, .value = (n)}

/* options_nic_check.c */
struct qp_options;
/* What goes together; --lcores sets the number of workers. */
int qp_options_check_nic(struct qp_options *o, struct qp_errmsg *msg);
static inline bool
qp_nic_mode(const struct qp_nic_options *n)
{
	return n->ports.n > 0;
}
/* Of a port; 0 and QP_NIC_MTU_DEFAULT where nothing was said. */
uint32_t qp_nic_options_vlan(const struct qp_nic_options *n, unsigned port);
uint32_t qp_nic_options_mtu(const struct qp_nic_options *n, unsigned port);
/*
 * All of it as data planes read it, `seq` untouched: addresses, and routes with those to their own
 * networks, longest prefix first. The options were checked.
 */
void qp_nic_options_net(const struct qp_nic_options *n, struct qp_nic_net *out);
/* The workers' CPUs, and nothing else. */
void qp_nic_options_take_lcores(struct qp_nic_options *to, const struct qp_nic_options *from);
/* Whether one of the addresses is `addr`. */
bool qp_nic_options_has(const struct qp_nic_options *n, const struct in6_addr *addr);

#endif
