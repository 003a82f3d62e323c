/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input and output as a socket. Two threads, blocking calls; they
 * share a struct that the last of its three holders frees.
 */
#include "client/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (64u << 10)

struct qpc_pipe {
	_Atomic int refs;
	int fd_in, fd_out, sock; /* `sock`: this side's end */
	pthread_t writer;
	bool writing;
	bool close_out; /* the writer's, and who has joined it */
};

static void
release(struct qpc_pipe *p)
{
	/* Pairs with the others' decrements. */
	if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	close(p->sock);
	free(p);
}

static bool
write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static void
copy(int from, int to)
{
	uint8_t *buf = malloc(BUFFER_BYTES);
	ssize_t n = 0;

	while (buf != NULL) {
		n = read(from, buf, BUFFER_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || !write_all(to, buf, (size_t)n))
			break;
	}
	free(buf);
}

/* Standard input's end becomes a half-close. */
static void *
read_in(void *arg)
{
	struct qpc_pipe *p = arg;

	copy(p->fd_in, p->sock);
	(void)shutdown(p->sock, SHUT_WR);
	release(p);
	return NULL;
}

/*
 * Both directions: the socket's other end is closed. Then the program gets to know first, so that it
 * can say why before who reads `fd_out` takes its end for the whole story, and qpc_pipe_free closes.
 */
static bool
is_over(const struct qpc_pipe *p)
{
	struct pollfd fd = {.fd = p->sock, .events = POLLIN};

	return poll(&fd, 1, 0) < 0 || (fd.revents & POLLHUP) != 0;
}

static void *
write_out(void *arg)
{
	struct qpc_pipe *p = arg;

	copy(p->sock, p->fd_out);
	if (p->close_out && !is_over(p)) {
		close(p->fd_out);
		p->close_out = false;
	}
	/* Nobody reads what we write any more: neither must the other side go on. */
	(void)shutdown(p->sock, SHUT_RD);
	release(p);
	return NULL;
}

/* Both without signals: a closed pipe is EPIPE to them, and no SIGPIPE. */
static int
spawn(struct qpc_pipe *p)
{
	sigset_t all, before;
	pthread_t reader;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	atomic_store_explicit(&p->refs, 3, memory_order_relaxed);
	rc = pthread_create(&p->writer, NULL, write_out, p);
	if (rc == 0) {
		p->writing = true;
		rc = pthread_create(&reader, NULL, read_in, p);
		if (rc == 0)
			pthread_detach(reader);
		else
			atomic_fetch_sub_explicit(&p->refs, 1, memory_order_relaxed);
	} else {
		atomic_store_explicit(&p->refs, 1, memory_order_relaxed);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int
qpc_pipe_new(int fd_in, int fd_out, bool close_out, struct qpc_pipe **out, int *sock,
	struct qp_errmsg *msg)
{
	struct qpc_pipe *p = calloc(1, sizeof(*p));
	int pair[2], rc;

	if (p == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		free(p);
		return qp_fail(msg, QP_E_IO, "cannot make a socket pair: %s", strerror(errno));
	}
	*p = (struct qpc_pipe) {.fd_in = fd_in, .fd_out = fd_out, .sock = pair[0]};
	(void)fcntl(pair[1], F_SETFL, O_NONBLOCK);
	p->close_out = close_out;
	rc = spawn(p);
	if (rc != 0) {
		close(pair[1]);
		qpc_pipe_free(p);
		return qp_fail(msg, QP_E_NOMEM, "cannot start a thread: %s", strerror(rc));
	}
	*sock = pair[1];
	*out = p;
	return QP_OK;
}

void
qpc_pipe_free(struct qpc_pipe *p)
{
	if (p == NULL)
		return;
	if (p->writing)
		pthread_join(p->writer, NULL);
	if (p->writing && p->close_out)
		close(p->fd_out);
	release(p);
}
