/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way out for connections that the gateway opens: asks the kernel's routing
 * tables by rtnetlink, as `ip route get` does. The loop thread's; waits only
 * for the kernel's answer to its own question.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "controlplane/hostnet_impl.h"

struct found {
	struct qp_hostnet_route *out;
	uint8_t type; /* RTN_UNICAST, RTN_LOCAL, … */
};

static void
take_addr(struct in6_addr *out, const struct nlattr *attr)
{
	const size_t len = mnl_attr_get_payload_len(attr);

	if (len == sizeof(*out)) {
		memcpy(out, mnl_attr_get_payload(attr), len);
	} else if (len == sizeof(struct in_addr)) {
		*out = (struct in6_addr) {.s6_addr = {[10] = 0xff, [11] = 0xff}};
		memcpy(out->s6_addr + 12, mnl_attr_get_payload(attr), len);
	}
}

static void
take_metrics(struct qp_hostnet_route *out, const struct nlattr *metrics)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, metrics)
		if (mnl_attr_get_type(attr) == RTAX_MTU && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
			out->mtu = mnl_attr_get_u32(attr);
}

static int
on_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	struct found *f = data;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	f->type = rt->rtm_type;
	mnl_attr_for_each(attr, nlh, sizeof(*rt)) {
		switch (mnl_attr_get_type(attr)) {
		case RTA_OIF:
			f->out->ifindex = mnl_attr_get_u32(attr);
			break;
		case RTA_PREFSRC:
			take_addr(&f->out->source, attr);
			break;
		case RTA_METRICS:
			take_metrics(f->out, attr);
			break;
		}
	}
	return MNL_CB_OK;
}

/* 0 or errno. */
static int
ask(const struct in6_addr *dest, struct found *f)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	const bool v4 = IN6_IS_ADDR_V4MAPPED(dest);
	char buf[4096];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rt;
	ssize_t n = -1;
	int err = 0;

	if (nl == NULL)
		return errno;
	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = 1;
	rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_family = v4 ? AF_INET : AF_INET6;
	rt->rtm_dst_len = v4 ? 32 : 128;
	if (v4)
		mnl_attr_put(nlh, RTA_DST, 4, dest->s6_addr + 12);
	else
		mnl_attr_put(nlh, RTA_DST, 16, dest);
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
		mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0 ||
		(n = mnl_socket_recvfrom(nl, buf, sizeof(buf))) < 0 ||
		mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_route, f) < 0)
		err = errno;
	mnl_socket_close(nl);
	return err;
}

static bool
is_classified(const struct qp_hostnet *h, uint32_t ifindex)
{
	for (unsigned i = 0; i < h->state.nfilters; i++)
		if (h->state.filters[i].ifindex == ifindex)
			return true;
	return false;
}

static const char *
text_of(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN])
{
	const bool v4 = IN6_IS_ADDR_V4MAPPED(addr);

	return inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr->s6_addr + 12 : addr->s6_addr, out,
		INET6_ADDRSTRLEN);
}

int
qp_hostnet_route(const struct qp_hostnet *h, const struct in6_addr *dest,
	struct qp_hostnet_route *out, struct qp_errmsg *msg)
{
	struct found f = {.out = out};
	const struct qp_link *link;
	char text[INET6_ADDRSTRLEN];
	int err;

	memset(out, 0, sizeof(*out));
	text_of(dest, text);
	err = ask(dest, &f);
	if (err == ENETUNREACH || err == EHOSTUNREACH || err == EACCES || err == EINVAL)
		return qp_fail(msg, QP_E_NOTFOUND, "the gateway has no route to %s", text);
	if (err != 0)
		return qp_fail(msg, qp_err_from_errno(err), "cannot find the route to %s: %s", text,
			strerror(err));
	if (f.type == RTN_LOCAL)
		out->ifindex = QP_CLS_LO_IFINDEX;
	else if (f.type != RTN_UNICAST)
		return qp_fail(msg, QP_E_INVAL, "%s is not the address of a host", text);
	if (IN6_IS_ADDR_UNSPECIFIED(&out->source))
		return qp_fail(msg, QP_E_NOTFOUND, "the gateway has no address to reach %s from", text);
	link = qp_host_view_link(&h->view, out->ifindex);
	if (link == NULL || !is_classified(h, out->ifindex))
		return qp_fail(msg, QP_E_UNSUPPORTED,
			"the way to %s leads through an interface that the gateway does not use "
			"(--interface)", text);
	if (out->mtu == 0 || out->mtu > link->mtu)
		out->mtu = link->mtu;
	return 0;
}
