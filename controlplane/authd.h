/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_AUTHD_H
#define QP_CONTROLPLANE_AUTHD_H

#include <stdint.h>

#include "common/auth.h"
#include "controlplane/loop.h"
#include "controlplane/msg.h"
#include "controlplane/records.h"
#include "controlplane/tunnels.h"

/*
 * Authentication for the data plane, which holds no secret: it passes a
 * client's bytes on and gets bytes or a verdict. A client learns nothing from a
 * refusal; the log tells the operator why. Owner: the loop thread. Lock: none.
 */
struct qp_authd;

/* How long a client may take between challenge and proof. */
#define QP_AUTHD_TIMEOUT_MS 10000u

struct qp_authd_counters {
	uint64_t psk_success, psk_failed;
	uint64_t x25519_success, x25519_failed;
};

struct qp_authd_config {
	struct qp_loop *loop;
	struct qp_tunnels *tunnels;
	struct qp_sender sender;
	const struct qp_auth_policy *policy; /* read at each use: its keyset may be exchanged */
	uint64_t (*unix_time)(void); /* seconds; NULL: the system's clock */
	const struct qp_records *records; /* NULL: nobody is told; borrowed */
};

struct qp_authd *qp_authd_new(const struct qp_authd_config *cfg);
/* NULL is allowed. */
void qp_authd_free(struct qp_authd *a);

/* AUTH_BEGIN: answers with AUTH_REPLY, or with VERDICT(0). */
void qp_authd_begin(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m);
/* AUTH_FINISH: answers with VERDICT. */
void qp_authd_finish(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m);

const struct qp_authd_counters *qp_authd_counters(const struct qp_authd *a);

#endif
