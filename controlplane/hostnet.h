/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_H
#define QP_CONTROLPLANE_HOSTNET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/classifier.h"
#include "common/error.h"
#include "common/ipc.h"

/*
 * Host mode's hold on the kernel: the eBPF classifier on the ingress of the
 * host's interfaces, its maps, the TAP devices' settings, port reservations.
 * Owner: the control plane's loop thread. Lock: none.
 *
 * Everything that it changes is written down first in STATE_DIR/host.state, so
 * that qp_hostnet_undo_stale() of a later start can take back what a killed
 * gateway left. Filters and maps live in the kernel and go on working while no
 * control plane runs.
 */
struct qp_hostnet;

/* The classifier's maps in the service manager's store (fdstore.h). */
#define QP_HOSTNET_FDS "quicport-classifier"
#define QP_HOSTNET_MAX_MAPS 32u

struct qp_hostnet_config {
	const char *state_dir;       /* QP_RUN_DIR/INSTANCE: holds host.state */
	const char *const *interfaces; /* names; NULL: all that are up (and come up later), lo included */
	unsigned ninterfaces;
	struct in6_addr quic_addr;   /* v4-mapped; all zero: every local address */
	uint16_t quic_port;          /* UDP, host order */
	uint16_t public_port;        /* TCP, host order; 0: none */
	bool adopt;                  /* a predecessor's data planes live: go on with its classifier */
};

/*
 * Loads the classifier and attaches it; reserves the QUIC and public ports in
 * the kernel (QP_E_INUSE names the port). On failure nothing is left changed.
 */
int qp_hostnet_open(const struct qp_hostnet_config *cfg, struct qp_hostnet **out,
	struct qp_errmsg *msg);
/* Takes everything back. NULL is allowed. */
void qp_hostnet_close(struct qp_hostnet *h);
/* The classifier's maps, borrowed; how many. */
unsigned qp_hostnet_maps(const struct qp_hostnet *h, int *fds, unsigned max);
/* Takes nothing back: filters and maps go on working for the next control plane. NULL is allowed. */
void qp_hostnet_leave(struct qp_hostnet *h);

/* A UDP socket bound to the QUIC port, to send from; it hears nothing. -1: the host has the port. */
int qp_hostnet_quic_socket(const struct qp_hostnet *h);

/* A readable descriptor (netlink) for the event loop, and what to call then. */
int qp_hostnet_fd(const struct qp_hostnet *h);
void qp_hostnet_process(struct qp_hostnet *h);

/*
 * A generation's worker: packets whose connection id carries (server_id, lcore)
 * go to its TAP. Makes what the worker writes to the TAP leave by the interface
 * that its destination MAC address names (common/classifier.h). QP_E_INVAL when
 * interface `ifindex` is no host port with the address `mac`.
 */
int qp_hostnet_worker_add(struct qp_hostnet *h, uint32_t server_id, uint8_t lcore,
	uint32_t ifindex, const uint8_t mac[6], struct qp_errmsg *msg);
/* Its map entries go; ports that point to its TAP are released by port_close. */
void qp_hostnet_worker_remove(struct qp_hostnet *h, uint32_t server_id, uint8_t lcore);
/*
 * New connections (and public API connections) go to this generation's workers
 * 0 … nworkers-1, spread by the client's address and port.
 */
int qp_hostnet_set_active(struct qp_hostnet *h, uint32_t server_id, uint8_t nworkers);

/*
 * Reserves a port in the kernel and steers it to the TAP `ifindex`. protocol:
 * IPPROTO_TCP or IPPROTO_UDP. `addr` NULL: on all addresses. QP_E_INUSE when
 * the host or a forward has it, QP_E_PERM.
 */
int qp_hostnet_port_open(struct qp_hostnet *h, int protocol, uint16_t port,
	const struct in6_addr *addr, uint32_t ifindex, struct qp_errmsg *msg);
void qp_hostnet_port_close(struct qp_hostnet *h, int protocol, uint16_t port);
/*
 * The same for a port that a living tunnel held before we started: steering
 * goes on, and a reservation that the host is in the way of is tried again by
 * qp_hostnet_retry.
 */
int qp_hostnet_port_adopt(struct qp_hostnet *h, int protocol, uint16_t port,
	const struct in6_addr *addr, uint32_t ifindex, struct qp_errmsg *msg);
/* Reserves what could not be. How many ports are left without; then call it again in a while. */
unsigned qp_hostnet_retry(struct qp_hostnet *h);
/* All living tunnels' ports are adopted: forgets what else the predecessor steered. */
void qp_hostnet_prune(struct qp_hostnet *h);
/* Moves an open port to another TAP. */
int qp_hostnet_port_move(struct qp_hostnet *h, int protocol, uint16_t port, uint32_t ifindex);

/* The way of a connection that the gateway opens. */
struct qp_hostnet_route {
	uint32_t ifindex;       /* it leaves by this interface; lo's for the host's own addresses */
	uint32_t mtu;           /* of that interface, or of the route if it says less */
	struct in6_addr source; /* v4-mapped; the host's address that the kernel would choose */
};
/*
 * As the kernel's routing tables have it. `dest` v4-mapped or IPv6.
 * QP_E_NOTFOUND without a way, QP_E_INVAL for what is no host's address,
 * QP_E_UNSUPPORTED by an interface without the classifier: no answer would
 * come back from there.
 */
int qp_hostnet_route(const struct qp_hostnet *h, const struct in6_addr *dest,
	struct qp_hostnet_route *out, struct qp_errmsg *msg);

/*
 * Drops what the classifier would otherwise take for this gateway from that
 * network: clients' packets and outside users' alike. What is the host's, and
 * what comes from the host itself by lo, is not touched. Host bits of `n` do not
 * count. QP_E_FULL beyond QP_CLS_MAX_BLOCKED. One that is there already is success.
 */
int qp_hostnet_block(struct qp_hostnet *h, const struct qp_msg_network *n, struct qp_errmsg *msg);
/* QP_E_NOTFOUND: not blocked as exactly this network. */
int qp_hostnet_unblock(struct qp_hostnet *h, const struct qp_msg_network *n);
/* The one behind `after` (NULL: the first), in no particular order; false: there is none. */
bool qp_hostnet_blocked_next(
	const struct qp_hostnet *h, const struct qp_msg_network *after, struct qp_msg_network *out);

/* How many entries a map of the classifier's has now. */
struct qp_hostnet_entries {
	const char *name;
	uint64_t entries;
};
/* How many of `out` were filled. A few system calls for each thousand entries. */
unsigned qp_hostnet_map_entries(const struct qp_hostnet *h, struct qp_hostnet_entries *out, unsigned max);

/* The classifier's counters since it was loaded, summed over the CPUs (common/classifier.h). */
int qp_hostnet_counters(const struct qp_hostnet *h, uint64_t out[QP_CLS_NCOUNTERS]);

/*
 * Undoes what a dead gateway wrote down in state_dir; nothing to undo is
 * success. The caller has made sure that its owner is dead.
 */
int qp_hostnet_undo_stale(const char *state_dir, struct qp_errmsg *msg);

#endif
