/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_NICNET_IMPL_H
#define QP_CONTROLPLANE_NICNET_IMPL_H

#include "common/nic_block.h"
#include "controlplane/nicnet.h"

/* What the files nicnet*.c share. */
struct qp_nicnet {
	struct qp_nicnet_config cfg;
	struct qp_nic_net net;          /* as it is, or is to be, in `nic` */
	struct qp_nic *nic;             /* NULL: not attached */
	struct qp_nic_blocked *blocked; /* until then; afterwards NULL */
	/* A predecessor's ports, by protocol and port, that no living tunnel has claimed yet. */
	bool unclaimed[QP_NIC_NPROTOCOLS][65536];
	bool one_address[QP_NIC_NPROTOCOLS][65536]; /* those that answer on one alone */
};

/* The generation's entry; NULL: it has none. */
struct qp_nic_gen *qp_nicnet_gen(const struct qp_nicnet *n, uint32_t server_id);

/* nicnet_gens.c: functions of the table. */
int qp_nicnet_room(const void *net, unsigned nworkers, struct qp_errmsg *msg);
int qp_nicnet_generation_add(
	void *net, const struct qp_network_generation *g, struct qp_errmsg *msg);
void qp_nicnet_generation_remove(void *net, uint32_t server_id);
void qp_nicnet_generation_freed(void *net, uint32_t server_id);
int qp_nicnet_worker_add(void *net, const struct qp_network_worker *w, struct qp_errmsg *msg);
int qp_nicnet_set_active(void *net, uint32_t server_id, uint8_t nworkers);

/* nicnet_ports.c: functions of the table. */
int qp_nicnet_port_open(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg);
int qp_nicnet_port_adopt(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_network_worker *w, struct qp_errmsg *msg);
int qp_nicnet_port_move(
	void *net, int protocol, uint16_t port, const struct qp_network_worker *w);
void qp_nicnet_port_close(void *net, int protocol, uint16_t port);
/* 1 + the address's index; 0: it is all zero. QP_NIC_MAX_ADDRS + 1: it is none of ours. */
uint32_t qp_nicnet_address(const struct qp_nicnet *n, const struct in6_addr *addr);
/* All ports that answer on one address answer on this one; 0: on every address. */
void qp_nicnet_ports_answer_on(struct qp_nicnet *n, uint32_t address);
/* Its ports' entries: whoever looks finds nobody there. */
void qp_nicnet_ports_drop(struct qp_nicnet *n, uint32_t server_id);
/* What stands in a predecessor's table waits for its tunnel. */
void qp_nicnet_ports_adopt(struct qp_nicnet *n);
/* All tunnels have told: what is unclaimed is nobody's. */
void qp_nicnet_ports_prune(struct qp_nicnet *n);

/* nicnet_block.c: functions of the table. */
int qp_nicnet_block(void *net, const struct qp_msg_network *net_, struct qp_errmsg *msg);
int qp_nicnet_unblock(void *net, const struct qp_msg_network *net_);
/* The shared table becomes what was told so far. */
void qp_nicnet_block_attach(struct qp_nicnet *n);

#endif
