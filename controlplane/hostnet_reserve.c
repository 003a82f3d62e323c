/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the kernel from giving the gateway's ports to somebody else, and the
 * gateway from taking somebody else's. A bound socket a port, on the loop
 * thread; steering packets is the classifier's business.
 */
#include "controlplane/hostnet_reserve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS    65536u
#define FDS_KEPT 128u

/* Descriptor + 1, so that all zero is "none". The pages that nobody touches cost nothing. */
struct qp_reserve {
	int tcp[PORTS];
	int udp[PORTS];
};

struct qp_reserve *
qp_reserve_new(void)
{
	return calloc(1, sizeof(struct qp_reserve));
}

void
qp_reserve_free(struct qp_reserve *r)
{
	if (r == NULL)
		return;
	for (unsigned i = 0; i < PORTS; i++) {
		if (r->tcp[i] != 0)
			close(r->tcp[i] - 1);
		if (r->udp[i] != 0)
			close(r->udp[i] - 1);
	}
	free(r);
}

static socklen_t
make_sockaddr(const struct in6_addr *addr, uint16_t port, struct sockaddr_storage *ss)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof(*ss));
	if (IN6_IS_ADDR_V4MAPPED(addr)) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		memcpy(&in4->sin_addr, addr->s6_addr + 12, sizeof(in4->sin_addr));
		return sizeof(*in4);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	in6->sin6_addr = *addr;
	return sizeof(*in6);
}

/* What still comes to the socket (fragments, interfaces without classifier) is not kept. */
static void
make_deaf(int fd)
{
	struct sock_filter drop[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog prog = {.len = 1, .filter = drop};
	int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
	(void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

/*
 * A descriptor that ports must leave to the rest of the process: data planes
 * that are taken over, the API, the files of the state.
 */
static bool
is_kept(int fd)
{
	struct rlimit limit;
	rlim_t kept = FDS_KEPT;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	if (kept > limit.rlim_cur / 4)
		kept = limit.rlim_cur / 4;
	return (rlim_t)fd >= limit.rlim_cur - kept;
}

/* A bound socket, or a negative errno value. No SO_REUSEADDR: it would let two have the port. */
static int
bind_socket(int protocol, const struct sockaddr_storage *ss, socklen_t len)
{
	const int type = protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int off = 0, err, fd = socket(ss->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (is_kept(fd)) {
		close(fd);
		return -EMFILE;
	}
	/* [::] stands for IPv4, too. */
	if (ss->ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (protocol == IPPROTO_UDP)
		make_deaf(fd);
	if (bind(fd, (const struct sockaddr *)ss, len) == 0)
		return fd;
	err = errno;
	close(fd);
	return -err;
}

static int
explain(int err, int protocol, uint16_t port, const struct in6_addr *addr, struct qp_errmsg *msg)
{
	const char *name = protocol == IPPROTO_UDP ? "udp" : "tcp";
	const int v4 = IN6_IS_ADDR_V4MAPPED(addr);
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr->s6_addr + 12 : addr->s6_addr, text,
		sizeof(text));
	switch (err) {
	case EADDRINUSE:
		return qp_fail(msg, QP_E_INUSE, "port %u/%s is in use on this host; choose another, "
			"or end what uses it (ss -%clnp sport = :%u)", port, name, name[0], port);
	case EADDRNOTAVAIL:
		return qp_fail(msg, QP_E_INVAL, "%s is not an address of this host; "
			"see \"ip addr\"", text);
	case EMFILE:
	case ENFILE:
		return qp_fail(msg, QP_E_FULL, "cannot reserve port %u/%s: too many open files; "
			"raise the limit (ulimit -n)", port, name);
	}
	return qp_fail(msg, qp_err_from_errno(err), "cannot reserve port %u/%s on %s: %s", port,
		name, text, strerror(err));
}

int
qp_reserve_take(struct qp_reserve *r, int protocol, uint16_t port, const struct in6_addr *addr,
	struct qp_errmsg *msg)
{
	int *slot = protocol == IPPROTO_UDP ? &r->udp[port] : &r->tcp[port];
	const struct in6_addr any = IN6ADDR_ANY_INIT;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (port == 0 || (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP))
		return qp_fail(msg, QP_E_INVAL, "port %u of protocol %d cannot be reserved", port,
			protocol);
	if (addr == NULL)
		addr = &any;
	if (*slot != 0)
		return explain(EADDRINUSE, protocol, port, addr, msg);

	len = make_sockaddr(addr, port, &ss);
	fd = bind_socket(protocol, &ss, len);
	if (IN6_IS_ADDR_UNSPECIFIED(addr) && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)) {
		/* A host without IPv6. */
		const struct in6_addr any4 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

		len = make_sockaddr(&any4, port, &ss);
		fd = bind_socket(protocol, &ss, len);
	}
	if (fd < 0)
		return explain(-fd, protocol, port, addr, msg);
	*slot = fd + 1;
	return 0;
}

bool
qp_reserve_has(const struct qp_reserve *r, int protocol, uint16_t port)
{
	return (protocol == IPPROTO_UDP ? r->udp[port] : r->tcp[port]) != 0;
}

int
qp_reserve_socket(const struct qp_reserve *r, int protocol, uint16_t port)
{
	return (protocol == IPPROTO_UDP ? r->udp[port] : r->tcp[port]) - 1;
}

int
qp_reserve_drop(struct qp_reserve *r, int protocol, uint16_t port)
{
	int *slot = protocol == IPPROTO_UDP ? &r->udp[port] : &r->tcp[port];

	if (*slot == 0)
		return QP_E_NOTFOUND;
	close(*slot - 1);
	*slot = 0;
	return 0;
}
