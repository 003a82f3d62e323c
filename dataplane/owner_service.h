/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_OWNER_SERVICE_H
#define QP_DATAPLANE_OWNER_SERVICE_H

#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"

/*
 * A port owner that a service manager starts: it is told by a control plane,
 * over a socket, whose memory it is, and gives lifelines to all that ask again.
 * One thread. common/ipc.h has the messages.
 */
struct qp_owner_service {
	int listen_fd; /* borrowed */
	int conn; /* of the last control plane that was answered; -1: none */
	int lifeline[2]; /* the write end is -1 once somebody else has it */
	uint32_t memory_mib;
	char instance[32];
	struct qp_owner_ports ports;
};

/*
 * Waits for the first request; `stop_fd` becomes readable when the process is to
 * end. QP_E_CLOSED: it is to end.
 */
int qp_owner_service_wait(
	struct qp_owner_service *s, int listen_fd, int stop_fd, struct qp_errmsg *msg);
/* Answers the first request: NULL, the memory is there; else why it is not. */
void qp_owner_service_answer(struct qp_owner_service *s, const char *why);
/* listen_fd is readable: a control plane that was restarted. */
void qp_owner_service_again(struct qp_owner_service *s);

#endif
