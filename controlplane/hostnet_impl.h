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
	struct mnl_socket *monitor;
	struct qp_host_state state; /* what is attached, as on disk */
	struct qp_host_view view;   /* what the maps say of the host now */
	struct qp_host_worker *workers;
	unsigned nworkers, workers_cap;
};

/*
 * Brings filters and maps in line with the host's interfaces and addresses.
 * `strict`: the first interface that cannot get its filter is an error; else a
 * line in the log.
 */
int qp_hostnet_sync(struct qp_hostnet *h, bool strict, struct qp_errmsg *msg);

#endif
