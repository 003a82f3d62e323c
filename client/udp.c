/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP socket under a QUIC connection. The loop's thread. Leaves retries
 * and the fate of lost datagrams to QUIC.
 */
#include "client/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Asked for; the kernel grants what net.core.rmem_max allows. */
#define SOCKET_BUFFER_BYTES (4 << 20)

static void
set_int(int fd, int level, int name, int value)
{
	/* Each of these makes things faster, none is needed: failure is no error. */
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void
grow_buffer(int fd, int force, int plain)
{
	int bytes = SOCKET_BUFFER_BYTES;

	if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof(bytes)) != 0)
		set_int(fd, SOL_SOCKET, plain, bytes);
}

static void
set_options(struct qpc_udp *udp)
{
	int fd = udp->fd, zero = 0;

	grow_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	grow_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	/* QUIC finds the path's MTU itself: never fragment, never trust what ICMP told the kernel. */
	if (udp->remote.sa.sa_family == AF_INET6) {
		set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
		set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	} else {
		set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
		set_int(fd, IPPROTO_IP, IP_RECVTOS, 1);
	}
	set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
	udp->segmentation = setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &zero, sizeof(zero)) == 0;
}

int
qpc_udp_open(struct qpc_udp *udp, const struct qp_sockaddr *remote, struct qp_errmsg *msg)
{
	char text[QP_ADDR_TEXT_BYTES];
	int err;

	*udp = (struct qpc_udp) {.fd = -1, .remote = *remote};
	udp->fd = socket(remote->sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (udp->fd < 0)
		return qp_fail(msg, qp_err_from_errno(errno), "cannot make a UDP socket: %s",
			strerror(errno));
	set_options(udp);
	udp->local.len = sizeof(udp->local.ss);
	if (connect(udp->fd, &remote->sa, remote->len) != 0 ||
		getsockname(udp->fd, &udp->local.sa, &udp->local.len) != 0) {
		err = errno;
		qpc_udp_close(udp);
		return qp_fail(msg, qp_err_from_errno(err), "cannot reach %s: %s",
			qp_sockaddr_format(&remote->sa, text), strerror(err));
	}
	return QP_OK;
}

void
qpc_udp_close(struct qpc_udp *udp)
{
	if (udp->fd >= 0)
		close(udp->fd);
	udp->fd = -1;
}

union control {
	char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))];
	struct cmsghdr align;
};

static void
put_cmsg(struct msghdr *m, struct cmsghdr **c, int level, int type, const void *data, size_t len)
{
	*c = m->msg_controllen == 0 ? (struct cmsghdr *)m->msg_control :
		(struct cmsghdr *)((char *)m->msg_control + m->msg_controllen);
	(*c)->cmsg_level = level;
	(*c)->cmsg_type = type;
	(*c)->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(*c), data, len);
	m->msg_controllen += CMSG_SPACE(len);
}

/* One system call: `len` bytes as datagrams of `batch->segment`. 0 or errno. */
static int
send_once(struct qpc_udp *udp, const struct qpc_udp_batch *batch, size_t len)
{
	struct iovec iov = {(void *)batch->data, len};
	union control control = {0};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};
	struct cmsghdr *c;
	int tos = batch->ecn;
	bool v6 = udp->remote.sa.sa_family == AF_INET6;

	if (batch->ecn != 0)
		put_cmsg(&m, &c, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, &tos,
			sizeof(tos));
	if (len > batch->segment) {
		uint16_t segment = (uint16_t)batch->segment;

		put_cmsg(&m, &c, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	}
	if (m.msg_controllen == 0)
		m.msg_control = NULL;
	return sendmsg(udp->fd, &m, MSG_NOSIGNAL) >= 0 ? 0 : errno;
}

/* Errors of the path or of the datagram, not of the socket. */
static bool
is_network_error(int err)
{
	switch (err) {
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case EMSGSIZE:
	case ENOBUFS:
	case ENOMEM:
	case EPERM: /* a packet filter */
	case EADDRNOTAVAIL: /* our address went away */
	case EINVAL:
		return true;
	}
	return false;
}

int
qpc_udp_send(struct qpc_udp *udp, struct qpc_udp_batch *batch)
{
	int pending_errors = 1;
	bool doubted = false; /* it failed, and the next datagram goes out alone */

	while (batch->len > 0) {
		size_t len = udp->segmentation || batch->len <= batch->segment ? batch->len :
									       batch->segment;
		int err = send_once(udp, batch, len);

		if (err == EAGAIN)
			return QP_E_AGAIN;
		if (err == EINTR)
			continue;
		if (err != 0) {
			/* EIO, EINVAL: the device or this path cannot segment. */
			if ((err == EIO || err == EINVAL) && len > batch->segment) {
				udp->segmentation = false;
				doubted = true;
				continue;
			}
			/* It was not segmentation's fault: the address has gone, say. */
			udp->segmentation |= doubted;
			/* A connected socket reports an older ICMP error once, without sending. */
			if (err == ECONNREFUSED && pending_errors-- > 0)
				continue;
			udp->last_error = err;
			udp->refused++;
			if (!is_network_error(err))
				return QP_E_IO;
		}
		doubted = false;
		batch->data += len;
		batch->len -= len;
	}
	return QP_OK;
}

static void
read_cmsgs(struct msghdr *m, struct qpc_udp_batch *batch)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		int value;

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			batch->ecn = *CMSG_DATA(c) & 3;
			continue;
		}
		if (c->cmsg_len < CMSG_LEN(sizeof(value)))
			continue;
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
			batch->ecn = value & 3;
		else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO && value > 0)
			batch->segment = (size_t)value;
	}
}

int
qpc_udp_receive(struct qpc_udp *udp, uint8_t *buf, struct qpc_udp_batch *batch)
{
	struct iovec iov = {buf, QPC_UDP_RECEIVE_BYTES};
	union {
		char bytes[CMSG_SPACE(sizeof(int)) * 3];
		struct cmsghdr align;
	} control;
	ssize_t n;

	for (;;) {
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes)};

		n = recvmsg(udp->fd, &m, 0);
		if (n >= 0) {
			*batch = (struct qpc_udp_batch) {buf, (size_t)n, (size_t)n, 0};
			read_cmsgs(&m, batch);
			return QP_OK;
		}
		if (errno == EAGAIN)
			return QP_E_AGAIN;
		if (errno == EINTR)
			continue;
		udp->last_error = errno;
		udp->refused++;
		/* An ICMP error that came for an earlier datagram; the queue may hold more behind it. */
		if (!is_network_error(errno))
			return QP_E_IO;
	}
}

size_t
qpc_udp_path_mtu(const struct qpc_udp *udp)
{
	bool v6 = udp->remote.sa.sa_family == AF_INET6;
	int mtu = 0;
	socklen_t len = sizeof(mtu);

	if (getsockopt(udp->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu,
		    &len) != 0 || mtu < 1280)
		return 1280;
	return (size_t)mtu;
}
