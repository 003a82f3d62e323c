/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_HOSTNET_IMPL_H
#define QP_CONTROLPLANE_HOSTNET_IMPL_H

#include <limits.h>

#include "controlplane/hostnet.h"
#include "controlplane/hostnet_links.h"
#include "controlplane/hostnet_state.h"

/* For hostnet*.c only. */

struct mnl_socket;
struct qp_classifier;
struct qp_reserve;

/* An entry of the map `ways`. */
struct qp_host_way {
	struct qp_cls_way key;
	uint32_t value;
	uint32_t metric; /* of the route */
};

/* Sorted by key, each once. All zero: empty. */
struct qp_host_ways {
	struct qp_host_way *all;
	unsigned n, cap;
	bool too_many; /* then n is 0 */
};

struct qp_host_worker {
	uint32_t server_id;
	uint32_t ifindex;
	uint8_t lcore;
};

/* Owner: the control plane's loop thread. Life: qp_hostnet_open to close. Lock: none. */
struct qp_hostnet {
	char dir[PATH_MAX];         /* state_dir */
	char (*names)[IF_NAMESIZE]; /* of chosen interfaces; NULL: all */
	unsigned nnames;
	uint32_t handle_start;      /* where the search for a filter's handle starts */
	bool joined;                /* registered in the shared state */
	struct qp_classifier *bpf;  /* programs and maps, made by bpftool */
	uint32_t ethernet_id, l3_id; /* their programs' ids in the kernel */
	struct qp_reserve *reserve;
	struct mnl_socket *monitor; /* links and addresses */
	struct mnl_socket *route_monitor;
	int changes_fd; /* epoll: both of them, and route_timer_fd */
	int route_timer_fd;
	uint64_t look_again_ns; /* CLOCK_MONOTONIC, when the timer fires; 0: it is not set */
	uint64_t routes_took_ns;
	bool incomplete; /* interfaces could not get their filter: these, as far as there is room */
	uint32_t without[16];
	unsigned nwithout;
	struct qp_host_state state; /* what is attached, as on disk */
	struct qp_host_view view;   /* what the maps say of the host now */
	struct qp_host_ways ways;   /* … and of its routes */
	struct qp_cls_addr lost[64]; /* addresses that went: entries of `local` that say so */
	unsigned nlost; /* ever; the newest are there */
	struct qp_host_worker *workers;
	unsigned nworkers, workers_cap;
	uint8_t block_mark; /* what this control plane's entries of `blocked` hold; 0: not chosen */
	struct qp_host_claim *unreserved; /* ports of ours that the host took while nobody held them */
	unsigned nunreserved, unreserved_cap;
};

/* A port that is steered to us, and not reserved in the kernel. */
struct qp_host_claim {
	int protocol;
	uint16_t port;
	struct in6_addr addr;
};

/*
 * hostnet_adopt.c: what a killed predecessor left working in the kernel. Finds
 * the maps that its filters use, for the classifier that is open and not loaded
 * yet, and h->state gets those filters. QP_E_NOTFOUND: no filter is left.
 */
int qp_hostnet_reuse(struct qp_hostnet *h, struct qp_errmsg *msg);
/* Has the service manager keep the classifier's maps for the next control plane. */
void qp_hostnet_keep_maps(const struct qp_hostnet *h);
/* After the first sync: addresses and links that went while nobody watched. */
void qp_hostnet_prune_host(struct qp_hostnet *h);
/* Deletes the keys of a map that `stays` does not want. */
void qp_hostnet_prune_map(int map, size_t key_bytes,
	bool (*stays)(const struct qp_hostnet *h, const void *key), const struct qp_hostnet *h);
/* Reserves a port of ours; one that the host has now is kept and tried again later. */
int qp_hostnet_reclaim(struct qp_hostnet *h, int protocol, uint16_t port,
	const struct in6_addr *addr, struct qp_errmsg *msg);
bool qp_hostnet_unclaim(struct qp_hostnet *h, int protocol, uint16_t port);

/*
 * Brings filters and maps in line with the host's interfaces and addresses.
 * `strict`: the first interface that cannot get its filter is an error; else a
 * line in the log.
 */
int qp_hostnet_sync(struct qp_hostnet *h, bool strict, struct qp_errmsg *msg);
/* Whether the gateway's packets are taken at an interface, when it is up. */
bool qp_hostnet_serves(const struct qp_hostnet *h, const struct qp_link *l);

/*
 * hostnet_ways.c: the map `ways` gets the host's routes of now. When they are
 * too many it is emptied, and answers leave by where their requests came in.
 */
int qp_hostnet_sync_ways(struct qp_hostnet *h);
/* What a predecessor left in the map and is not so any more. */
void qp_hostnet_prune_ways(struct qp_hostnet *h);

/* hostnet_changes.c: the descriptors that tell of the host's changes. Errno or 0. */
int qp_hostnet_watch_open(struct qp_hostnet *h);
void qp_hostnet_watch_close(struct qp_hostnet *h);

#endif
