/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_PIPE_H
#define QP_CLIENT_PIPE_H

#include <stdbool.h>

#include "common/error.h"

/*
 * Two descriptors of any kind (pipes, terminals, files) as one end of a stream
 * socket, by a thread for each direction: what epoll cannot watch, and what must
 * not be set non-blocking because others share it, blocks a thread instead.
 * Half-close passes in both directions.
 */
struct qpc_pipe;

/*
 * `*sock`: the other end, non-blocking, the caller's. `fd_in` and `fd_out` are
 * borrowed until qpc_pipe_free; with `close_out` `fd_out` is consumed, and closed when the
 * socket's other end is shut for writing, or by qpc_pipe_free. QP_E_NOMEM, QP_E_IO: nothing is
 * consumed.
 */
int qpc_pipe_new(int fd_in, int fd_out, bool close_out, struct qpc_pipe **out, int *sock,
	struct qp_errmsg *msg)
	__attribute__((warn_unused_result));
/*
 * Waits until what came through the socket is written to `fd_out`, and forgets a reader
 * that still waits for `fd_in`: it ends with the next byte or the program. The
 * socket's other end must be closed. NULL is allowed.
 */
void qpc_pipe_free(struct qpc_pipe *p);

#endif
