/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_AUTHD_H
#define QP_CONTROLPLANE_AUTHD_H

#include <stdint.h>

#include "common/auth.h"
#include "controlplane/enforce.h"
#include "controlplane/loop.h"
#include "controlplane/msg.h"
#include "controlplane/records.h"
#include "controlplane/slowdown.h"
#include "controlplane/tunnels.h"

/*
 * Authentication for the data plane, which holds no secret: it passes a
 * client's bytes on and gets bytes or a verdict. A client learns nothing from a
 * refusal, which comes the later the more there were from its address; log,
 * metrics and events tell the operator why. Owner: the loop thread. Lock: none.
 */
struct qp_authd;

/* How long a client may take between challenge and proof. */
#define QP_AUTHD_TIMEOUT_MS 10000u

/* Why clients are refused: labels of a metric. X(name) */
#define QP_AUTHD_REASONS(X)                                                                        \
	X(unknown_key)                                                                             \
	X(wrong_psk)                                                                               \
	X(wrong_clock)                                                                             \
	X(wrong_answer)                                                                            \
	X(no_answer)                                                                               \
	X(method_off)                                                                              \
	X(malformed)                                                                               \
	X(expired)                                                                                 \
	X(policy_changed)                                                                          \
	X(slowed)                                                                                  \
	X(busy)                                                                                    \
	X(other)

enum qp_authd_reason {
#define X(name) QP_REFUSED_##name,
	QP_AUTHD_REASONS(X)
#undef X
	QP_REFUSED_NREASONS
};

/* "unknown_key", … */
const char *qp_authd_reason_name(enum qp_authd_reason reason);
/* Of what common/auth.h's server says. */
enum qp_authd_reason qp_authd_reason_of(const char *why);

struct qp_authd_counters {
	uint64_t psk_success, psk_failed;
	uint64_t x25519_success, x25519_failed;
	uint64_t refused[QP_REFUSED_NREASONS];
};

struct qp_authd_config {
	struct qp_loop *loop;
	struct qp_tunnels *tunnels;
	struct qp_sender sender;
	struct qp_enforce *enforce;
	const struct qp_secret *private_key; /* NULL: nobody comes by X25519 */
	const uint8_t *public_key;           /* its own */
	struct qp_auth_random random;
	uint64_t (*unix_time)(void); /* seconds; NULL: the system's clock */
	const struct qp_records *records; /* NULL: nobody is told; borrowed */
};

struct qp_authd *qp_authd_new(const struct qp_authd_config *cfg);
/* NULL is allowed. */
void qp_authd_free(struct qp_authd *a);

/* AUTH_BEGIN: answers with AUTH_REPLY, or with VERDICT(0), now or later. */
void qp_authd_begin(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m);
/* AUTH_FINISH: answers with the client's limits (if its worker has none yet) and VERDICT. */
void qp_authd_finish(struct qp_authd *a, const struct qp_origin *from, const struct qp_msg *m);

const struct qp_authd_counters *qp_authd_counters(const struct qp_authd *a);
/* A predecessor has counted these; before anything is counted. */
void qp_authd_resume(struct qp_authd *a, const struct qp_authd_counters *counters);

#endif
