/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_PSK_MARKS_H
#define QP_CONTROLPLANE_PSK_MARKS_H

#include "common/keys.h"

/*
 * By which PSK a tunnel was let in, for a control plane that takes it over: the
 * mark stands where an X25519 client has its key (struct qp_msg_identity). It is
 * a hash under a key of this gateway's control planes, in its run folder: data
 * planes, which carry it, have no use for it.
 */
#define QP_PSK_MARK_BYTES 32u

struct qp_psk_marks {
	struct qp_secret *key; /* NULL: no marks are made */
};

/*
 * The key in the folder, or a new one. Without one (a warning says why) a changed
 * PSK is not noticed by the next control plane.
 */
void qp_psk_marks_open(struct qp_psk_marks *m, const char *dir);
void qp_psk_marks_close(struct qp_psk_marks *m);

/* Zeros when no marks are made. */
void qp_psk_mark(const struct qp_psk_marks *m, const struct qp_secret *psk,
	uint8_t out[QP_PSK_MARK_BYTES]);
/* The mark is of another PSK. False also for one of another key, and for none. */
bool qp_psk_mark_differs(const struct qp_psk_marks *m, const struct qp_secret *psk,
	const uint8_t mark[QP_PSK_MARK_BYTES]);

#endif
