/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_RELAY_IMPL_H
#define QP_CLIENT_RELAY_IMPL_H

#include "client/relay.h"

/*
 * A relay from within: shared by relay*.c. Whatever ends a relay may free it:
 * the caller touches it no more.
 */

/* The id is known: connects to the destination, as long as it takes. */
void qpc_relay_connect(struct qpc_relay *r);
/* Relays to this connected socket instead. False: the loop did not take it. */
bool qpc_relay_use_socket(struct qpc_relay *r, int fd);
/* Of the loop's source and timer. */
void qpc_relay_on_socket(struct qpc_source *source, uint32_t events);
void qpc_relay_on_timer(struct qpc_timer *timer);
void qpc_relay_close_socket(struct qpc_relay *r, bool reset);

/* There is news: the next work looks at it. */
void qpc_relay_queue(struct qpc_relay *r);
/* Both FINs are through: closes the socket in peace. */
void qpc_relay_finish(struct qpc_relay *r);
/* Resets both sides. */
void qpc_relay_abort(struct qpc_relay *r, uint64_t code);
/*
 * The socket failed. What the service said before still goes out, as TCP's
 * segments before an RST do; then the stream is reset, unless it had ended.
 */
void qpc_relay_local_failed(struct qpc_relay *r);
/* RESETTING is over: the stream is reset now. */
void qpc_relay_finish_reset(struct qpc_relay *r);

#endif
