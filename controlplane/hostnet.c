/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host mode's hold on the kernel: loads the classifier, tells it who owns
 * which packets, and takes everything back, also for a gateway that was
 * killed. Lives on the control plane's loop thread; interfaces and addresses
 * are hostnet_sync.c's, what gateways share hostnet_shared.c's.
 */
#define QP_LOG_MODULE QP_LOG_M_host
#include "controlplane/hostnet.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "classifier.skel.h"
#include "common/log.h"
#include "controlplane/hostnet_impl.h"
#include "controlplane/hostnet_reserve.h"
#include "controlplane/hostnet_shared.h"
#include "controlplane/hostnet_tc.h"

/* libbpf explains expected failures (a qdisc that exists) at length: for debugging only. */
static int
on_libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[1024];

	if (level == LIBBPF_DEBUG || !qp_log_enabled(QP_LOG_MODULE, QP_LOG_DEBUG))
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	qp_log(QP_LOG_DEBUG, "libbpf", QP_LOG_STR("line", line));
	return 0;
}

static void
state_path(const char *dir, char path[PATH_MAX])
{
	if (realpath(dir, path) == NULL)
		snprintf(path, PATH_MAX, "%s", dir);
}

static uint32_t
hash_text(const char *text)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *text != '\0'; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h;
}

static struct qp_cls_addr
map_addr(const struct in6_addr *addr)
{
	struct qp_cls_addr a = {{0}};

	if (addr != NULL)
		memcpy(&a, addr, sizeof(a));
	return a;
}

static int
explain_load(int err, struct qp_errmsg *msg)
{
	if (err == EPERM || err == EACCES)
		return qp_fail(msg, QP_E_PERM, "loading the packet classifier needs CAP_BPF and "
			"CAP_NET_ADMIN; run as root");
	if (err == ENOMEM)
		return qp_fail(msg, QP_E_NOMEM, "no memory for the packet classifier");
	return qp_fail(msg, QP_E_UNSUPPORTED, "this kernel does not load the packet classifier: "
		"%s; it needs Linux 6.1 or later with CONFIG_BPF_SYSCALL (--log-level debug says "
		"more)", strerror(err));
}

static uint32_t
program_id(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len) != 0)
		return 0;
	return info.id;
}

static int
load_classifier(struct qp_hostnet *h, const struct qp_hostnet_config *cfg, struct qp_errmsg *msg)
{
	uint32_t seed;
	int rc;

	libbpf_set_print(on_libbpf_print);
	h->bpf = qp_classifier__open();
	if (h->bpf == NULL)
		return explain_load(errno, msg);
	h->bpf->rodata->quic_port = htons(cfg->quic_port);
	h->bpf->rodata->public_port = htons(cfg->public_port);
	h->bpf->rodata->quic_addr = map_addr(&cfg->quic_addr);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return explain_load(errno, msg);
	h->bpf->rodata->strangers_seed = seed;
	if (cfg->adopt) {
		rc = qp_hostnet_reuse(h, msg);
		if (rc == QP_E_NOTFOUND)
			qp_log(QP_LOG_WARN, "the classifier is set up again: clients may have "
				"missed some packets", QP_LOG_STR("reason", msg->text));
		else if (rc != 0)
			return rc;
	}
	if (qp_classifier__load(h->bpf) != 0)
		return explain_load(errno, msg);
	h->ethernet_id = program_id(h->bpf->progs.qp_ingress);
	h->l3_id = program_id(h->bpf->progs.qp_ingress_l3);
	if (h->ethernet_id == 0 || h->l3_id == 0)
		return explain_load(errno, msg);
	return 0;
}

static int
choose_interfaces(struct qp_hostnet *h, const struct qp_hostnet_config *cfg, struct qp_errmsg *msg)
{
	struct qp_host_view v = {0};
	int err, rc = 0;

	if (cfg->interfaces == NULL)
		return 0;
	h->names = calloc(cfg->ninterfaces, sizeof(*h->names));
	if (h->names == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for %u interface names",
			cfg->ninterfaces);
	err = qp_host_view_read(&v);
	if (err != 0)
		rc = qp_fail(msg, qp_err_from_errno(err), "cannot read the host's interfaces: %s",
			strerror(err));
	for (unsigned i = 0; rc == 0 && i < cfg->ninterfaces; i++) {
		if (qp_host_view_named(&v, cfg->interfaces[i]) == NULL)
			rc = qp_fail(msg, QP_E_NOTFOUND, "there is no interface \"%s\"; "
				"see \"ip link\"", cfg->interfaces[i]);
		else
			snprintf(h->names[h->nnames++], IF_NAMESIZE, "%s", cfg->interfaces[i]);
	}
	qp_host_view_clear(&v);
	return rc;
}

static int
reserve(struct qp_hostnet *h, bool adopt, int protocol, uint16_t port, const struct in6_addr *addr,
	struct qp_errmsg *msg)
{
	return adopt ? qp_hostnet_reclaim(h, protocol, port, addr, msg)
		     : qp_reserve_take(h->reserve, protocol, port, addr, msg);
}

static int
reserve_own_ports(struct qp_hostnet *h, const struct qp_hostnet_config *cfg, struct qp_errmsg *msg)
{
	int rc;

	h->reserve = qp_reserve_new();
	if (h->reserve == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for the ports");
	rc = reserve(h, cfg->adopt, IPPROTO_UDP, cfg->quic_port, &cfg->quic_addr, msg);
	if (rc == 0 && cfg->public_port != 0)
		rc = reserve(h, cfg->adopt, IPPROTO_TCP, cfg->public_port, &cfg->quic_addr, msg);
	return rc;
}

/* From here on the host is changed; everything is written down before. */
static int
take_hold(struct qp_hostnet *h, bool adopt, struct qp_errmsg *msg)
{
	int rc, err;

	h->state.netns = qp_host_netns();
	rc = qp_host_state_save(h->dir, &h->state, msg);
	if (rc != 0)
		return rc;
	rc = qp_host_shared_join(h->dir, msg);
	if (rc != 0) {
		if (!adopt)
			qp_host_state_remove(h->dir);
		return rc;
	}
	h->joined = true;
	err = qp_hostnet_watch_open(h);
	if (err != 0)
		return qp_fail(msg, qp_err_from_errno(err),
			"cannot watch the host's interfaces: %s", strerror(err));
	return qp_hostnet_sync(h, !adopt, msg);
}

int
qp_hostnet_open(const struct qp_hostnet_config *cfg, struct qp_hostnet **out,
	struct qp_errmsg *msg)
{
	struct qp_hostnet *h = calloc(1, sizeof(*h));
	int rc;

	if (h == NULL)
		return qp_fail(msg, QP_E_NOMEM, "no memory for host mode");
	h->changes_fd = h->route_timer_fd = -1;
	state_path(cfg->state_dir, h->dir);
	h->handle_start = hash_text(h->dir);
	/* What a person may have got wrong first, then what changes the host. */
	if ((rc = choose_interfaces(h, cfg, msg)) != 0 ||
		(rc = reserve_own_ports(h, cfg, msg)) != 0 ||
		(rc = load_classifier(h, cfg, msg)) != 0 || (rc = take_hold(h, cfg->adopt, msg)) != 0) {
		if (cfg->adopt)
			h->joined = false;
		qp_hostnet_close(h);
		return rc;
	}
	if (cfg->adopt)
		qp_hostnet_prune_host(h);
	qp_hostnet_keep_maps(h);
	*out = h;
	return 0;
}

void
qp_hostnet_leave(struct qp_hostnet *h)
{
	if (h == NULL)
		return;
	h->joined = false;
	qp_hostnet_close(h);
}

/* Takes back what a state says, in the namespace that it speaks of. */
static int
undo(const char *dir, const struct qp_host_state *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->nfilters; i++) {
		int e = qp_tc_detach(&s->filters[i]);

		err = err != 0 ? err : e;
		qp_host_clsact_release(s->filters[i].ifindex);
	}
	if (err != 0)
		return err;
	qp_host_shared_leave(dir);
	qp_host_state_remove(dir);
	return 0;
}

void
qp_hostnet_close(struct qp_hostnet *h)
{
	int err;

	if (h == NULL)
		return;
	if (h->joined && (err = undo(h->dir, &h->state)) != 0)
		qp_log(QP_LOG_WARN, "cannot detach the classifier everywhere", QP_LOG_ERRNO(err));
	qp_hostnet_watch_close(h);
	qp_classifier__destroy(h->bpf);
	qp_reserve_free(h->reserve);
	qp_host_view_clear(&h->view);
	qp_host_state_clear(&h->state);
	free(h->ways.all);
	free(h->unreserved);
	free(h->workers);
	free(h->names);
	free(h);
}

int
qp_hostnet_undo_stale(const char *state_dir, struct qp_errmsg *msg)
{
	struct qp_host_state s;
	char dir[PATH_MAX];
	int err = 0, rc;

	libbpf_set_print(on_libbpf_print);
	state_path(state_dir, dir);
	rc = qp_host_state_load(dir, &s, msg);
	if (rc == QP_E_NOTFOUND)
		return 0;
	if (rc != 0)
		return rc;
	if (s.netns == qp_host_netns()) {
		err = undo(dir, &s);
	} else {
		/* Nothing of it is in this namespace. */
		qp_host_shared_forget(dir, s.netns);
		qp_host_state_remove(dir);
	}
	qp_host_state_clear(&s);
	if (err != 0)
		return qp_fail(msg, qp_err_from_errno(err),
			"cannot detach a dead gateway's classifier (%s/host.state): %s", dir,
			strerror(err));
	return 0;
}

int
qp_hostnet_quic_socket(const struct qp_hostnet *h)
{
	return qp_reserve_socket(h->reserve, IPPROTO_UDP, ntohs(h->bpf->rodata->quic_port));
}

static int
update_map(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY) == 0)
		return 0;
	return errno == E2BIG ? QP_E_FULL : qp_err_from_errno(errno);
}

static struct qp_host_worker *
find_worker(const struct qp_hostnet *h, uint32_t server_id, uint8_t lcore)
{
	for (unsigned i = 0; i < h->nworkers; i++)
		if (h->workers[i].server_id == server_id && h->workers[i].lcore == lcore)
			return &h->workers[i];
	return NULL;
}

static int
remember_worker(struct qp_hostnet *h, const struct qp_host_worker *w)
{
	struct qp_host_worker *at = find_worker(h, w->server_id, w->lcore);

	if (at == NULL && h->nworkers == h->workers_cap) {
		unsigned cap = h->workers_cap ? h->workers_cap * 2 : QP_CLS_MAX_WORKERS;
		struct qp_host_worker *grown = reallocarray(h->workers, cap, sizeof(*h->workers));

		if (grown == NULL)
			return QP_E_NOMEM;
		h->workers = grown;
		h->workers_cap = cap;
	}
	if (at == NULL)
		at = &h->workers[h->nworkers++];
	*at = *w;
	return 0;
}

static struct qp_cls_worker
worker_key(uint32_t server_id, uint8_t lcore)
{
	return (struct qp_cls_worker) {.server_id = htonl(server_id), .lcore = lcore};
}

/* On any other interface, the program that a TAP gets would cut the host off. */
static bool
is_host_port(uint32_t ifindex, const uint8_t mac[6])
{
	struct qp_host_view v = {0};
	const struct qp_link *l = NULL;
	bool is;

	if (qp_host_view_read(&v) == 0)
		l = qp_host_view_link(&v, ifindex);
	is = l != NULL && l->is_tap && memcmp(l->mac, mac, sizeof(l->mac)) == 0;
	qp_host_view_clear(&v);
	return is;
}

int
qp_hostnet_worker_add(struct qp_hostnet *h, uint32_t server_id, uint8_t lcore, uint32_t ifindex,
	const uint8_t mac[6], struct qp_errmsg *msg)
{
	const struct qp_host_worker w = {server_id, ifindex, lcore};
	const struct qp_cls_worker key = worker_key(server_id, lcore);
	int err, rc;

	if (!is_host_port(ifindex, mac))
		return qp_fail(msg, QP_E_INVAL, "interface %u is not the TAP device of worker %u; "
			"start the data plane in the network namespace of the control plane",
			ifindex, lcore);
	err = qp_tc_attach_alone(ifindex, bpf_program__fd(h->bpf->progs.qp_tap));
	if (err != 0)
		return qp_fail(msg, qp_err_from_errno(err),
			"cannot set up the TAP device of worker %u (interface %u): %s", lcore,
			ifindex, strerror(err));
	rc = remember_worker(h, &w);
	if (rc == 0)
		rc = update_map(h->bpf->maps.workers, &key, &ifindex);
	if (rc != 0) {
		qp_hostnet_worker_remove(h, server_id, lcore);
		return qp_fail(msg, rc, "cannot steer packets to worker %u of generation 0x%x: %s",
			lcore, server_id, qp_strerror(rc));
	}
	return 0;
}

void
qp_hostnet_worker_remove(struct qp_hostnet *h, uint32_t server_id, uint8_t lcore)
{
	const struct qp_cls_worker key = worker_key(server_id, lcore);
	struct qp_host_worker *w = find_worker(h, server_id, lcore);

	(void)bpf_map_delete_elem(bpf_map__fd(h->bpf->maps.workers), &key);
	if (w != NULL)
		*w = h->workers[--h->nworkers];
}

int
qp_hostnet_set_active(struct qp_hostnet *h, uint32_t server_id, uint8_t nworkers)
{
	struct qp_cls_active active = {.n = nworkers};
	const uint32_t key = 0;

	if (nworkers > QP_CLS_MAX_WORKERS)
		return QP_E_INVAL;
	for (uint8_t i = 0; i < nworkers; i++) {
		const struct qp_host_worker *w = find_worker(h, server_id, i);

		if (w == NULL)
			return QP_E_NOTFOUND;
		active.ifindex[i] = w->ifindex;
	}
	return update_map(h->bpf->maps.active, &key, &active);
}

static struct qp_cls_port
port_key(int protocol, uint16_t port)
{
	return (struct qp_cls_port) {.protocol = (uint8_t)protocol, .port = htons(port)};
}

static int
port_open(struct qp_hostnet *h, bool adopt, int protocol, uint16_t port,
	const struct in6_addr *addr, uint32_t ifindex, struct qp_errmsg *msg)
{
	const struct qp_cls_port key = port_key(protocol, port);
	const struct qp_cls_port_owner owner = {.ifindex = ifindex, .addr = map_addr(addr)};
	int rc = reserve(h, adopt, protocol, port, addr, msg);

	if (rc != 0)
		return rc;
	rc = update_map(h->bpf->maps.ports, &key, &owner);
	if (rc != 0) {
		(void)qp_hostnet_unclaim(h, protocol, port);
		(void)qp_reserve_drop(h->reserve, protocol, port);
		return qp_fail(msg, rc, "cannot steer port %u to its worker: %s", port,
			qp_strerror(rc));
	}
	return 0;
}

int
qp_hostnet_port_open(struct qp_hostnet *h, int protocol, uint16_t port,
	const struct in6_addr *addr, uint32_t ifindex, struct qp_errmsg *msg)
{
	return port_open(h, false, protocol, port, addr, ifindex, msg);
}

int
qp_hostnet_port_adopt(struct qp_hostnet *h, int protocol, uint16_t port,
	const struct in6_addr *addr, uint32_t ifindex, struct qp_errmsg *msg)
{
	return port_open(h, true, protocol, port, addr, ifindex, msg);
}

void
qp_hostnet_port_close(struct qp_hostnet *h, int protocol, uint16_t port)
{
	const struct qp_cls_port key = port_key(protocol, port);

	(void)bpf_map_delete_elem(bpf_map__fd(h->bpf->maps.ports), &key);
	if (!qp_hostnet_unclaim(h, protocol, port))
		(void)qp_reserve_drop(h->reserve, protocol, port);
}

int
qp_hostnet_port_move(struct qp_hostnet *h, int protocol, uint16_t port, uint32_t ifindex)
{
	const struct qp_cls_port key = port_key(protocol, port);
	struct qp_cls_port_owner owner;

	if (bpf_map_lookup_elem(bpf_map__fd(h->bpf->maps.ports), &key, &owner) != 0)
		return qp_err_from_errno(errno);
	owner.ifindex = ifindex;
	return update_map(h->bpf->maps.ports, &key, &owner);
}

int
qp_hostnet_counters(const struct qp_hostnet *h, uint64_t out[QP_CLS_NCOUNTERS])
{
	const int map = bpf_map__fd(h->bpf->maps.counters), ncpus = libbpf_num_possible_cpus();
	uint64_t *each = ncpus > 0 ? calloc((size_t)ncpus, sizeof(*each)) : NULL;
	int rc = 0;

	if (each == NULL)
		return QP_E_NOMEM;
	for (uint32_t i = 0; i < QP_CLS_NCOUNTERS; i++) {
		out[i] = 0;
		if (bpf_map_lookup_elem(map, &i, each) != 0) {
			/* The map of an older release that we go on with has fewer. */
			rc = errno == ENOENT ? 0 : qp_err_from_errno(errno);
			continue;
		}
		for (int cpu = 0; rc == 0 && cpu < ncpus; cpu++)
			out[i] += each[cpu];
	}
	free(each);
	return rc;
}
