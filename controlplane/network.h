/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_NETWORK_H
#define QP_CONTROLPLANE_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"
#include "controlplane/hostnet.h"

/*
 * What carries packets to the data planes: the host's kernel (hostnet.h) or
 * ports of the gateway's own (nicnet.h). The contracts are hostnet.h's where a
 * function there has the same name. Owner: the loop thread. Lock: none.
 */

/* A worker, as either of the two knows it. */
struct qp_network_worker {
	uint32_t server_id;
	uint32_t ifindex; /* host mode: its TAP's */
	uint8_t worker;
	uint8_t mac[6];   /* host mode: its TAP's */
};

/* A generation's workers and their inbound rings: common/nic.h. */
struct qp_network_generation {
	uint32_t server_id;
	uint32_t nworkers;
	uint64_t handoff;
	uint32_t handoff_bytes;
};

struct qp_network_ops {
	void (*close)(void *net);
	void (*leave)(void *net);
	/* The shared memory is there. */
	int (*attached)(void *net, struct qp_errmsg *msg);
	/* -1: nothing to watch. */
	int (*fd)(const void *net);
	void (*process)(void *net);
	int (*quic_socket)(const void *net);
	unsigned (*maps)(const void *net, int *fds, unsigned max);
	/* Whether one more generation of so many workers could be served; why not. */
	int (*room)(const void *net, unsigned nworkers, struct qp_errmsg *msg);
	/* Before its workers are told to begin; of one that was taken over, again. */
	int (*generation_add)(
		void *net, const struct qp_network_generation *g, struct qp_errmsg *msg);
	/* It is dead: nothing is sent to it from now on. Its memory is still there. */
	void (*generation_remove)(void *net, uint32_t server_id);
	/* Its memory is gone, and with it what devices held of it. */
	void (*generation_freed)(void *net, uint32_t server_id);
	int (*worker_add)(void *net, const struct qp_network_worker *w, struct qp_errmsg *msg);
	void (*worker_remove)(void *net, uint32_t server_id, uint8_t worker);
	int (*set_active)(void *net, uint32_t server_id, uint8_t nworkers);
	int (*port_open)(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
		const struct qp_network_worker *w, struct qp_errmsg *msg);
	int (*port_adopt)(void *net, int protocol, uint16_t port, const struct in6_addr *addr,
		const struct qp_network_worker *w, struct qp_errmsg *msg);
	int (*port_move)(
		void *net, int protocol, uint16_t port, const struct qp_network_worker *w);
	void (*port_close)(void *net, int protocol, uint16_t port);
	unsigned (*retry)(void *net);
	void (*prune)(void *net);
	int (*route)(const void *net, const struct in6_addr *dest, struct qp_hostnet_route *out,
		struct qp_errmsg *msg);
	int (*block)(void *net, const struct qp_msg_network *n, struct qp_errmsg *msg);
	int (*unblock)(void *net, const struct qp_msg_network *n);
	/* QP_E_UNSUPPORTED: no classifier of the kernel's is in use. */
	int (*counters)(const void *net, uint64_t out[QP_CLS_NCOUNTERS]);
	unsigned (*map_entries)(const void *net, struct qp_hostnet_entries *out, unsigned max);
};

/* Owner: who opened it. `ops` NULL: none is open. */
struct qp_network {
	const struct qp_network_ops *ops;
	void *net;
};

/* The host's kernel; `net` is a struct qp_hostnet. */
extern const struct qp_network_ops qp_hostnet_ops;

#endif
