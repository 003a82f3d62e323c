/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the classifier where the host's interfaces are, and its maps of local
 * addresses and MTUs as the host's are: a fresh view of the host is compared
 * with what was last applied, and only differences reach the kernel. Runs on
 * the loop thread, at the start and whenever netlink says that something
 * changed.
 */
#define QP_LOG_MODULE QP_LOG_M_host
#include "controlplane/hostnet_impl.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "classifier.skel.h"
#include "common/log.h"
#include "controlplane/hostnet_shared.h"
#include "controlplane/hostnet_tc.h"

/* Another gateway may remove an unused qdisc between our look at it and our filter. */
#define ATTACH_TRIES 3u

static bool
is_chosen(const struct qp_hostnet *h, const struct qp_link *l)
{
	if (h->names == NULL)
		return true;
	for (unsigned i = 0; i < h->nnames; i++)
		if (strcmp(h->names[i], l->name) == 0)
			return true;
	return false;
}

bool
qp_hostnet_serves(const struct qp_hostnet *h, const struct qp_link *l)
{
	return l->kind != QP_LINK_OTHER && !l->enslaved && !l->is_tap && is_chosen(h, l);
}

static int
explain(int err, const struct qp_link *l, struct qp_errmsg *msg)
{
	if (err == EPERM || err == EACCES)
		return qp_fail(msg, QP_E_PERM, "attaching the classifier to %s needs "
			"CAP_NET_ADMIN; run as root", l->name);
	if (err == ENOENT || err == EOPNOTSUPP)
		return qp_fail(msg, QP_E_UNSUPPORTED, "this kernel cannot attach the classifier to "
			"%s: %s; it needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF", l->name,
			strerror(err));
	return qp_fail(msg, qp_err_from_errno(err), "cannot attach the classifier to %s: %s",
		l->name, strerror(err));
}

struct written {
	struct qp_hostnet *h;
	int rc; /* what kept it from being written down */
	struct qp_errmsg msg;
};

static int
write_down(void *ctx, const struct qp_host_filter *f)
{
	struct written *w = ctx;

	w->rc = qp_host_state_put(&w->h->state, f);
	if (w->rc != 0)
		return qp_fail(&w->msg, w->rc, "%s", qp_strerror(w->rc));
	w->rc = qp_host_state_save(w->h->dir, &w->h->state, &w->msg);
	return w->rc;
}

static int
attach(struct qp_hostnet *h, const struct qp_link *l, struct qp_errmsg *msg)
{
	const bool l3 = l->kind == QP_LINK_L3;
	const struct bpf_program *prog = l3 ? h->bpf->progs.qp_ingress_l3
					    : h->bpf->progs.qp_ingress;
	struct written written = {.h = h};
	struct qp_host_filter f = {.ifindex = l->ifindex,
		.prog_id = l3 ? h->l3_id : h->ethernet_id};
	int err = EINVAL;

	for (unsigned i = 0; err != 0 && written.rc == 0 && i < ATTACH_TRIES; i++) {
		err = qp_host_clsact_ensure(l->ifindex, msg);
		if (err == 0)
			err = qp_tc_attach(&f, bpf_program__fd(prog), h->handle_start, write_down,
				&written);
	}
	/* It went away meanwhile: netlink will say so, too. */
	if (err == 0 || err == ENODEV)
		return 0;
	qp_host_state_drop(&h->state, l->ifindex);
	(void)qp_host_state_save(h->dir, &h->state, NULL);
	qp_host_clsact_release(l->ifindex);
	if (written.rc != 0)
		return qp_fail(msg, written.rc, "%s", written.msg.text);
	return explain(err, l, msg);
}

static void
detach(struct qp_hostnet *h, const struct qp_host_filter *gone)
{
	const struct qp_host_filter f = *gone;

	(void)qp_tc_detach(&f);
	qp_host_clsact_release(f.ifindex);
	qp_host_state_drop(&h->state, f.ifindex);
	(void)qp_host_state_save(h->dir, &h->state, NULL);
}

/* Once for each, however often it is tried again; of very many, only the first ones. */
static void
tell_without(struct qp_hostnet *h, const struct qp_link *l, const char *why)
{
	h->incomplete = true;
	for (unsigned i = 0; i < h->nwithout; i++)
		if (h->without[i] == l->ifindex)
			return;
	/* More than can be remembered would be told with each try. */
	if (h->nwithout == sizeof(h->without) / sizeof(h->without[0]))
		return;
	h->without[h->nwithout++] = l->ifindex;
	qp_log(QP_LOG_WARN, "an interface goes without the classifier",
		QP_LOG_STR("interface", l->name), QP_LOG_STR("reason", why));
}

static void
note_complete(struct qp_hostnet *h)
{
	if (!h->incomplete && h->nwithout > 0) {
		qp_log(QP_LOG_INFO, "all interfaces have the classifier again");
		h->nwithout = 0;
	}
}

static int
sync_filters(struct qp_hostnet *h, const struct qp_host_view *now, bool strict,
	struct qp_errmsg *msg)
{
	struct qp_errmsg why;
	int rc;

	h->incomplete = false;
	for (unsigned i = h->state.nfilters; i-- > 0;) {
		const struct qp_host_filter *f = &h->state.filters[i];
		const struct qp_link *l = qp_host_view_link(now, f->ifindex);

		if (l == NULL || !qp_hostnet_serves(h, l))
			detach(h, f);
	}
	for (unsigned i = 0; i < now->nlinks; i++) {
		const struct qp_link *l = &now->links[i];

		/*
		 * Also one that is down: between its coming up and our hearing of it, the
		 * kernel would reset connections whose segments arrive there.
		 */
		if (!qp_hostnet_serves(h, l) || qp_host_state_find(&h->state, l->ifindex))
			continue;
		rc = attach(h, l, &why);
		if (rc == 0)
			continue;
		if (strict && l->up)
			return qp_fail(msg, rc, "%s", why.text);
		tell_without(h, l, why.text);
	}
	note_complete(h);
	return 0;
}

static void
sync_links(struct qp_hostnet *h, const struct qp_host_view *now)
{
	const int map = bpf_map__fd(h->bpf->maps.links);

	for (unsigned i = 0; i < h->view.nlinks; i++) {
		const uint32_t ifindex = h->view.links[i].ifindex;

		if (qp_host_view_link(now, ifindex) == NULL)
			(void)bpf_map_delete_elem(map, &ifindex);
	}
	for (unsigned i = 0; i < now->nlinks; i++) {
		const struct qp_link *l = &now->links[i];
		const struct qp_link *old = qp_host_view_link(&h->view, l->ifindex);

		/* Without an entry, the MTU counts as unlimited: no reason to fail. */
		if (old == NULL || old->mtu != l->mtu)
			(void)bpf_map_update_elem(map, &l->ifindex, &l->mtu, BPF_ANY);
	}
}

static bool
has_addr(const struct qp_host_view *v, const struct qp_cls_addr *a)
{
	for (unsigned i = 0; i < v->naddrs; i++)
		if (memcmp(&v->addrs[i].addr, a, sizeof(*a)) == 0)
			return true;
	return false;
}

/* The entry stays for a while, as that of a lost one; the one that was lost longest ago goes. */
static void
lose_addr(struct qp_hostnet *h, const struct qp_host_view *now, const struct qp_cls_addr *a)
{
	const int map = bpf_map__fd(h->bpf->maps.local);
	const unsigned most = sizeof(h->lost) / sizeof(h->lost[0]);
	const struct qp_cls_local none = {0};
	struct qp_cls_addr *place = &h->lost[h->nlost % most];

	if (h->nlost >= most && !has_addr(now, place) && memcmp(place, a, sizeof(*a)) != 0)
		(void)bpf_map_delete_elem(map, place);
	*place = *a;
	h->nlost++;
	(void)bpf_map_update_elem(map, a, &none, BPF_ANY);
}

/* Both views are sorted: one walk over the two finds what came, went and changed. */
static int
sync_addrs(struct qp_hostnet *h, const struct qp_host_view *now)
{
	const int map = bpf_map__fd(h->bpf->maps.local);
	const struct qp_local_addr *old = h->view.addrs;
	const struct qp_local_addr *old_end = old != NULL ? old + h->view.naddrs : NULL;
	int err = 0;

	for (unsigned i = 0; i < now->naddrs; i++) {
		const struct qp_local_addr *a = &now->addrs[i];
		int order = -1;

		while (old < old_end &&
			(order = memcmp(&old->addr, &a->addr, sizeof(a->addr))) < 0)
			lose_addr(h, now, &old++->addr);
		if (old < old_end && order == 0 &&
			memcmp(&old->where, &a->where, sizeof(a->where)) == 0) {
			old++;
			continue;
		}
		if (bpf_map_update_elem(map, &a->addr, &a->where, BPF_ANY) != 0)
			err = errno;
		if (old < old_end && order == 0)
			old++;
	}
	while (old < old_end)
		lose_addr(h, now, &old++->addr);
	return err;
}

int
qp_hostnet_sync(struct qp_hostnet *h, bool strict, struct qp_errmsg *msg)
{
	struct qp_host_view now = {0};
	int rc, err = qp_host_view_read(&now);

	if (err != 0) {
		qp_host_view_clear(&now);
		return qp_fail(msg, qp_err_from_errno(err),
			"cannot read the host's interfaces and addresses: %s", strerror(err));
	}
	sync_links(h, &now);
	err = sync_addrs(h, &now);
	if (err != 0)
		qp_log(QP_LOG_WARN, "some of the host's addresses are not served",
			QP_LOG_U64("addresses", now.naddrs), QP_LOG_ERRNO(err));
	rc = sync_filters(h, &now, strict, msg);
	qp_host_view_clear(&h->view);
	h->view = now;
	(void)qp_hostnet_sync_ways(h);
	return rc;
}
