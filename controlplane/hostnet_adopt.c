/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goes on with the classifier of a control plane that was killed. Its filters,
 * programs and maps live in the kernel and carry packets meanwhile, so nothing
 * of it is undone: the filters stay, and our programs, for interfaces that come
 * later, are loaded on the same maps. Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_host
#include "controlplane/hostnet_impl.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classifier.skel.h"
#include "common/log.h"
#include "controlplane/fdstore.h"
#include "controlplane/hostnet_reserve.h"
#include "controlplane/hostnet_shared.h"
#include "controlplane/hostnet_tc.h"

/* Which of our maps is it? The kernel keeps 15 characters of a name. */
static struct bpf_map *
map_named(struct qp_hostnet *h, const char *name)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, h->bpf->obj) {
		if (!bpf_map__is_internal(map) &&
			strncmp(bpf_map__name(map), name, BPF_OBJ_NAME_LEN - 1) == 0)
			return map;
	}
	return NULL;
}

/*
 * Ports, addresses and the seed are those that the filters were made with. Another
 * release's constants have the same beginning: new ones are appended, and keep our values.
 */
static int
reuse_constants(struct qp_hostnet *h, int fd, const struct bpf_map_info *info)
{
	const uint32_t key = 0;
	void *value = malloc(info->value_size);
	int err = value == NULL ? ENOMEM : 0;

	if (err == 0 && bpf_map_lookup_elem(fd, &key, value) != 0)
		err = errno;
	if (err == 0)
		memcpy(h->bpf->rodata, value, info->value_size < sizeof(*h->bpf->rodata)
						      ? info->value_size
						      : sizeof(*h->bpf->rodata));
	free(value);
	return err;
}

static bool
fits(const struct bpf_map *map, const struct bpf_map_info *info)
{
	return bpf_map__type(map) == info->type && bpf_map__key_size(map) == info->key_size &&
		bpf_map__value_size(map) == info->value_size;
}

/* Closes `fd`. */
static int
reuse_map(struct qp_hostnet *h, int fd, struct qp_errmsg *msg)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	struct bpf_map *map;
	int err = 0;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0) {
		err = errno;
	} else if ((map = map_named(h, info.name)) != NULL) {
		if (!fits(map, &info)) {
			close(fd);
			return qp_fail(msg, QP_E_VERSION,
				"the running gateway's classifier is of another release (its map %s "
				"has keys of %u and values of %u bytes, ours %u and %u): its tunnels "
				"run on; start a control plane of its release, or of the one before "
				"or after it",
				info.name, info.key_size, info.value_size,
				bpf_map__key_size(map), bpf_map__value_size(map));
		}
		err = -bpf_map__reuse_fd(map, fd);
	} else if (strstr(info.name, ".rodata") != NULL) {
		err = reuse_constants(h, fd, &info);
	}
	if (fd >= 0)
		close(fd);
	return err == 0 ? 0 : qp_fail(msg, qp_err_from_errno(err),
		"cannot take over the running classifier's map %s: %s", info.name, strerror(err));
}

/* Without CAP_SYS_ADMIN the kernel finds no map by its number: a service's are kept for it. */
static bool
reuse_kept_maps(struct qp_hostnet *h, int *rc, struct qp_errmsg *msg)
{
	int fds[QP_HOSTNET_MAX_MAPS];
	unsigned n = qp_fdstore_take(QP_HOSTNET_FDS, fds, QP_HOSTNET_MAX_MAPS);

	*rc = 0;
	for (unsigned i = 0; i < n; i++) {
		if (*rc == 0)
			*rc = reuse_map(h, fds[i], msg);
		else
			close(fds[i]);
	}
	return n > 0;
}

unsigned
qp_hostnet_maps(const struct qp_hostnet *h, int *fds, unsigned max)
{
	struct bpf_map *map;
	unsigned n = 0;

	bpf_object__for_each_map(map, h->bpf->obj) {
		if (n < max && bpf_map__fd(map) >= 0)
			fds[n++] = bpf_map__fd(map);
	}
	return n;
}

void
qp_hostnet_keep_maps(const struct qp_hostnet *h)
{
	int fds[QP_HOSTNET_MAX_MAPS];

	qp_fdstore_keep(QP_HOSTNET_FDS, fds, qp_hostnet_maps(h, fds, QP_HOSTNET_MAX_MAPS));
}

static int
reuse_maps_of(struct qp_hostnet *h, uint32_t prog_id, struct qp_errmsg *msg)
{
	uint32_t ids[QP_HOSTNET_MAX_MAPS] = {0}, len;
	struct bpf_prog_info info = {.nr_map_ids = QP_HOSTNET_MAX_MAPS, .map_ids = (uintptr_t)ids};
	int fd = bpf_prog_get_fd_by_id(prog_id), rc = 0;

	len = sizeof(info);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		rc = qp_fail(msg, qp_err_from_errno(errno),
			"cannot look at the running classifier: %s", strerror(errno));
	for (uint32_t i = 0; rc == 0 && i < info.nr_map_ids && i < QP_HOSTNET_MAX_MAPS; i++)
		rc = reuse_map(h, bpf_map_get_fd_by_id(ids[i]), msg);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Written down before it was attached, or gone with its interface: not ours any more. */
static void
drop_fallen_filters(struct qp_hostnet *h)
{
	for (unsigned i = h->state.nfilters; i-- > 0;) {
		if (!qp_tc_stands(&h->state.filters[i]))
			qp_host_state_drop(&h->state, h->state.filters[i].ifindex);
	}
}

int
qp_hostnet_reuse(struct qp_hostnet *h, struct qp_errmsg *msg)
{
	int rc = qp_host_state_load(h->dir, &h->state, msg);

	if (rc != 0)
		return rc;
	if (h->state.netns != qp_host_netns())
		qp_host_state_clear(&h->state); /* nothing of it is in this namespace */
	drop_fallen_filters(h);
	if (h->state.nfilters == 0)
		return qp_fail(msg, QP_E_NOTFOUND, "no filter of the running gateway is left");
	return reuse_kept_maps(h, &rc, msg) ? rc
					    : reuse_maps_of(h, h->state.filters[0].prog_id, msg);
}

void
qp_hostnet_prune_map(int map, size_t key_bytes, bool (*stays)(const struct qp_hostnet *h, const void *key),
	const struct qp_hostnet *h)
{
	char key[32], next[32];
	bool more = bpf_map_get_next_key(map, NULL, next) == 0;

	while (more) {
		memcpy(key, next, key_bytes);
		/* Before this one may go, since the search for the next starts at it. */
		more = bpf_map_get_next_key(map, key, next) == 0;
		if (!stays(h, key))
			(void)bpf_map_delete_elem(map, key);
	}
}

static bool
is_link(const struct qp_hostnet *h, const void *key)
{
	uint32_t ifindex;

	memcpy(&ifindex, key, sizeof(ifindex));
	return qp_host_view_link(&h->view, ifindex) != NULL;
}

static bool
is_address(const struct qp_hostnet *h, const void *key)
{
	for (unsigned i = 0; i < h->view.naddrs; i++)
		if (memcmp(&h->view.addrs[i].addr, key, sizeof(struct qp_cls_addr)) == 0)
			return true;
	return false;
}

static bool
is_claimed(const struct qp_hostnet *h, const void *key)
{
	struct qp_cls_port k;

	memcpy(&k, key, sizeof(k));
	if (qp_reserve_has(h->reserve, k.protocol, ntohs(k.port)))
		return true;
	for (unsigned i = 0; i < h->nunreserved; i++)
		if (h->unreserved[i].protocol == k.protocol &&
			h->unreserved[i].port == ntohs(k.port))
			return true;
	return false;
}

static bool
is_worker(const struct qp_hostnet *h, const void *key)
{
	struct qp_cls_worker k;

	memcpy(&k, key, sizeof(k));
	for (unsigned i = 0; i < h->nworkers; i++)
		if (htonl(h->workers[i].server_id) == k.server_id && h->workers[i].lcore == k.lcore)
			return true;
	return false;
}

static bool
is_blocked_now(const struct qp_hostnet *h, const void *key)
{
	uint8_t mark = 0;

	return bpf_map_lookup_elem(bpf_map__fd(h->bpf->maps.blocked), key, &mark) != 0 ||
		mark == h->block_mark;
}

/* Our blocks get a mark that no older one has: what a predecessor's time is over for has another. */
static void
choose_block_mark(struct qp_hostnet *h)
{
	const int map = bpf_map__fd(h->bpf->maps.blocked);
	bool used[256] = {true};
	struct qp_cls_network key;
	uint8_t mark;
	bool more;

	for (more = bpf_map_get_next_key(map, NULL, &key) == 0; more;
		more = bpf_map_get_next_key(map, &key, &key) == 0)
		if (bpf_map_lookup_elem(map, &key, &mark) == 0)
			used[mark] = true;
	for (h->block_mark = 1; used[h->block_mark] && h->block_mark < 255; h->block_mark++)
		;
}

void
qp_hostnet_prune_host(struct qp_hostnet *h)
{
	choose_block_mark(h);
	qp_hostnet_prune_map(bpf_map__fd(h->bpf->maps.links), sizeof(uint32_t), is_link, h);
	qp_hostnet_prune_map(bpf_map__fd(h->bpf->maps.local), sizeof(struct qp_cls_addr), is_address, h);
	qp_hostnet_prune_ways(h);
}

void
qp_hostnet_prune(struct qp_hostnet *h)
{
	qp_hostnet_prune_map(bpf_map__fd(h->bpf->maps.ports), sizeof(struct qp_cls_port), is_claimed, h);
	qp_hostnet_prune_map(bpf_map__fd(h->bpf->maps.workers), sizeof(struct qp_cls_worker), is_worker, h);
	qp_hostnet_prune_map(bpf_map__fd(h->bpf->maps.blocked), sizeof(struct qp_cls_network), is_blocked_now,
		h);
}

static int
remember_unreserved(struct qp_hostnet *h, int protocol, uint16_t port, const struct in6_addr *addr)
{
	if (h->nunreserved == h->unreserved_cap) {
		unsigned cap = h->unreserved_cap ? h->unreserved_cap * 2 : 16;
		struct qp_host_claim *grown =
			reallocarray(h->unreserved, cap, sizeof(*h->unreserved));

		if (grown == NULL)
			return QP_E_NOMEM;
		h->unreserved = grown;
		h->unreserved_cap = cap;
	}
	h->unreserved[h->nunreserved++] = (struct qp_host_claim) {.protocol = protocol,
		.port = port, .addr = addr != NULL ? *addr : (struct in6_addr)IN6ADDR_ANY_INIT};
	return 0;
}

int
qp_hostnet_reclaim(struct qp_hostnet *h, int protocol, uint16_t port, const struct in6_addr *addr,
	struct qp_errmsg *msg)
{
	int rc = qp_reserve_take(h->reserve, protocol, port, addr, msg);

	if (rc == 0 || rc == QP_E_INVAL)
		return rc;
	qp_log(QP_LOG_WARN, "a port of a running tunnel cannot be reserved on the host now: the "
		"tunnel keeps it, and it is tried again", QP_LOG_U64("port", port),
		QP_LOG_STR("reason", msg->text));
	rc = remember_unreserved(h, protocol, port, addr);
	return rc == 0 ? 0 : qp_fail(msg, rc, "no memory for the ports");
}

bool
qp_hostnet_unclaim(struct qp_hostnet *h, int protocol, uint16_t port)
{
	for (unsigned i = 0; i < h->nunreserved; i++) {
		if (h->unreserved[i].protocol == protocol && h->unreserved[i].port == port) {
			h->unreserved[i] = h->unreserved[--h->nunreserved];
			return true;
		}
	}
	return false;
}

unsigned
qp_hostnet_retry(struct qp_hostnet *h)
{
	for (unsigned i = h->nunreserved; i-- > 0;) {
		const struct qp_host_claim *c = &h->unreserved[i];

		if (qp_reserve_take(h->reserve, c->protocol, c->port, &c->addr, NULL) != 0)
			continue;
		qp_log(QP_LOG_INFO, "a running tunnel's port is reserved again",
			QP_LOG_U64("port", c->port));
		h->unreserved[i] = h->unreserved[--h->nunreserved];
	}
	return h->nunreserved;
}
