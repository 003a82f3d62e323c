/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tc's side of the classifier: attaches and detaches programs without getting
 * in the way of other users of tc on the same interface. Stateless; the loop
 * thread's, or the one's that cleans up after a dead gateway.
 */
#include "controlplane/hostnet_tc.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>

/*
 * All gateways share one priority and differ by handle: the kernel runs the
 * filters of a priority one after another until one decides. Others may sit at
 * this priority with another kind of filter; then the next one is tried.
 */
#define PRIORITY       20816u
#define PRIORITY_TRIES 16u
#define HANDLE_TRIES   64u

/*
 * libbpf refuses structs whose padding is not zero, and an initializer need not
 * clear it (clang's does not): so both are filled field by field.
 */
static void
set_hook(struct bpf_tc_hook *hook, uint32_t ifindex, enum bpf_tc_attach_point at)
{
	memset(hook, 0, sizeof(*hook));
	hook->sz = sizeof(*hook);
	hook->ifindex = (int)ifindex;
	hook->attach_point = at;
}

static void
set_opts(struct bpf_tc_opts *opts, uint32_t priority, uint32_t handle)
{
	memset(opts, 0, sizeof(*opts));
	opts->sz = sizeof(*opts);
	opts->priority = priority;
	opts->handle = handle;
}

int
qp_tc_clsact_create(uint32_t ifindex)
{
	struct bpf_tc_hook hook;

	set_hook(&hook, ifindex, BPF_TC_INGRESS);
	return -bpf_tc_hook_create(&hook);
}

int
qp_tc_clsact_destroy(uint32_t ifindex)
{
	struct bpf_tc_hook hook;

	set_hook(&hook, ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS);
	return -bpf_tc_hook_destroy(&hook);
}

static int
count_filter(const struct nlmsghdr *nlh, void *data)
{
	unsigned *n = data;

	if (nlh->nlmsg_type == RTM_NEWTFILTER)
		++*n;
	return MNL_CB_OK;
}

/* How many filters hang at a parent; negative: unknown. */
static int
count_filters(struct mnl_socket *nl, uint32_t ifindex, uint32_t parent)
{
	char buf[8192];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));
	unsigned n = 0;
	ssize_t len;
	int rc = 1;

	nlh->nlmsg_type = RTM_GETTFILTER;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = parent;
	tcm->tcm_ifindex = (int)ifindex;
	tcm->tcm_parent = parent;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -1;
	while (rc > 0) {
		len = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (len < 0)
			return -1;
		rc = mnl_cb_run(buf, (size_t)len, parent, mnl_socket_get_portid(nl), count_filter,
			&n);
	}
	return rc < 0 ? -1 : (int)n;
}

bool
qp_tc_clsact_in_use(uint32_t ifindex)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	bool in_use = true;

	if (nl == NULL)
		return true;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		in_use = count_filters(nl, ifindex,
				 TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) != 0 ||
			count_filters(nl, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)) != 0;
	mnl_socket_close(nl);
	return in_use;
}

/* 0: there is a filter, and whose program it runs. ENOENT: the place is free. */
static int
query(const struct qp_host_filter *f, uint32_t *prog_id)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int rc;

	set_hook(&hook, f->ifindex, BPF_TC_INGRESS);
	set_opts(&opts, f->priority, f->handle);
	rc = bpf_tc_query(&hook, &opts);
	*prog_id = opts.prog_id;
	return -rc;
}

int
qp_tc_attach(struct qp_host_filter *f, int prog_fd, uint32_t start,
	int (*before)(void *ctx, const struct qp_host_filter *f), void *ctx)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	unsigned tries = 0;
	uint32_t ignored;
	int err;

	set_hook(&hook, f->ifindex, BPF_TC_INGRESS);
	f->priority = PRIORITY;
	do {
		f->handle = 1 + (start + tries) % INT32_MAX;
		err = query(f, &ignored);
		if (err == 0) {
			err = EEXIST;
			continue;
		}
		if (before(ctx, f) != 0)
			return EIO;
		set_opts(&opts, f->priority, f->handle);
		opts.prog_fd = prog_fd;
		err = -bpf_tc_attach(&hook, &opts);
		/* Another kind of filter, or other protocols, at this priority. */
		if (err == EINVAL && f->priority < PRIORITY + PRIORITY_TRIES) {
			f->priority++;
			err = EEXIST;
		}
	} while (err == EEXIST && ++tries < HANDLE_TRIES);
	return err;
}

int
qp_tc_detach(const struct qp_host_filter *f)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	uint32_t prog_id;

	/* No such filter or interface, or somebody else's filter in that place: nothing of ours. */
	if (query(f, &prog_id) != 0 || prog_id != f->prog_id)
		return 0;
	set_hook(&hook, f->ifindex, BPF_TC_INGRESS);
	set_opts(&opts, f->priority, f->handle);
	return -bpf_tc_detach(&hook, &opts);
}

bool
qp_tc_stands(const struct qp_host_filter *f)
{
	uint32_t prog_id;

	return query(f, &prog_id) == 0 && prog_id == f->prog_id;
}

int
qp_tc_attach_alone(uint32_t ifindex, int prog_fd)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int err = qp_tc_clsact_create(ifindex);

	if (err != 0 && err != EEXIST)
		return err;
	set_hook(&hook, ifindex, BPF_TC_INGRESS);
	set_opts(&opts, 1, 1);
	opts.prog_fd = prog_fd;
	opts.flags = BPF_TC_F_REPLACE;
	return -bpf_tc_attach(&hook, &opts);
}
