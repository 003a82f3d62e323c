/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_GUARD_H
#define QP_CONTROLPLANE_GUARD_H

/*
 * For a call that may never return, since it takes locks in memory that it
 * shares with processes that were killed: a thread that waits beside it. One
 * at a time, main thread.
 */

/*
 * Unless qp_guard_end is called within `seconds`, the process says `what` (copied)
 * as an error and ends with status 1 as if it was killed, which loses nothing that
 * runs. Without memory for a thread nothing is guarded.
 */
void qp_guard_begin(unsigned seconds, const char *what);
void qp_guard_end(void);

#endif
