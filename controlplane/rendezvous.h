/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_RENDEZVOUS_H
#define QP_CONTROLPLANE_RENDEZVOUS_H

#include <sys/types.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * control.sock: the messages of common/ipc.h with their descriptors, as plain
 * calls on a descriptor. No state. Loop thread.
 */

#define QP_RENDEZVOUS_FDS (QP_MAX_WORKERS + 1)

/* A listening SOCK_SEQPACKET socket at DIR/control.sock, mode 0600. */
int qp_rendezvous_listen(const char *dir, int *out_fd, struct qp_errmsg *msg);
/* The next data plane that connects; `*pid` is the kernel's word. QP_E_AGAIN: none. */
int qp_rendezvous_accept(int listen_fd, int *out_fd, pid_t *pid);

/*
 * Its request: validated; `version` is the one to speak, and to refuse it in. `fds` gets the doorbells of its `nworkers` workers
 * and, when it runs already (out->server_id), its lifeline; they are the
 * caller's. QP_E_AGAIN: not here yet. QP_E_CLOSED: it went away. QP_E_PROTO,
 * QP_E_VERSION: refuse it, with msg.
 */
int qp_rendezvous_receive(int fd, struct qp_attach *out, uint32_t *version,
	int fds[QP_RENDEZVOUS_FDS], struct qp_errmsg *msg);
/* `server_id` 0 refuses with `why`; else the two descriptors go along. */
int qp_rendezvous_reply(int fd, uint32_t version, uint32_t server_id, const char *why,
	int doorbell, int lifeline);
/* qp_attach_ready. 0: its memory is there; QP_E_AGAIN; else msg says why not. */
int qp_rendezvous_ready(int fd, struct qp_errmsg *msg);

#endif
