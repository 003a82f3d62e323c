/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rendezvous with the control plane, the first one and those that start later.
 * Runs on the data plane's main thread, which does nothing else.
 */
#include "dataplane/attach.h"

#include <errno.h>
#include <rte_errno.h>
#include <rte_memzone.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/ipc_version.h"
#include "common/owner_link.h"
#include "common/shared.h"
#include "dataplane/nic/handoff.h"

#define REPLY_FDS 2 /* the control plane's doorbell, the lifeline */
#define ANSWER_S 5  /* a control plane that starts has other things to do first */

static void
limit_waiting(int sock)
{
	const struct timeval answer = {.tv_sec = ANSWER_S};

	(void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &answer, sizeof(answer));
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &answer, sizeof(answer));
}

static int
connect_socket(struct qp_attachment *a, const char *instance, struct qp_errmsg *msg)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	if (snprintf(sun.sun_path, sizeof(sun.sun_path), QP_RUN_DIR "/%s/control.sock", instance) >=
		(int)sizeof(sun.sun_path))
		return qp_fail(msg, QP_E_INVAL, "--instance %s: the name is too long", instance);
	a->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (a->sock < 0)
		return qp_fail(msg, QP_E_IO, "socket: %s", strerror(errno));
	if (a->server_id != 0)
		limit_waiting(a->sock);
	if (connect(a->sock, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return qp_fail(msg, errno == ECONNREFUSED ? QP_E_CLOSED : qp_err_from_errno(errno),
			"%s: %s: is `quicport control-plane` of instance %s running?", sun.sun_path,
			strerror(errno), instance);
	return 0;
}

static int
send_hello(struct qp_attachment *a, struct qp_errmsg *msg)
{
	struct qp_attach hello = {
		.magic = QP_ATTACH_MAGIC,
		.version = qp_ipc_own.oldest,
		.newest = qp_ipc_own.newest,
		.pid = getpid(),
		.nworkers = a->nworkers,
		.server_id = a->server_id,
		.epoch = a->epoch,
		.lcore_base = a->lcore_base,
	};
	struct iovec iov = {&hello, sizeof(hello)};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(a->doorbell) + sizeof(int))];
	} control;
	/* One that runs holds the lifeline, perhaps as the only one. */
	const size_t doorbells = a->nworkers * sizeof(int);
	const size_t fds = doorbells + (a->server_id != 0 ? sizeof(int) : 0);
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
		.msg_controllen = CMSG_SPACE(fds)};
	struct cmsghdr *cm;

	memset(&control, 0, sizeof(control));
	cm = CMSG_FIRSTHDR(&mh);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(fds);
	memcpy(CMSG_DATA(cm), a->doorbell, doorbells);
	if (a->server_id != 0)
		memcpy(CMSG_DATA(cm) + doorbells, &a->lifeline, sizeof(int));
	if (sendmsg(a->sock, &mh, MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
		return qp_fail(msg, QP_E_IO, "control.sock: %s", strerror(errno));
	return 0;
}

static void
take_fds(struct qp_attachment *a, struct msghdr *mh)
{
	struct cmsghdr *cm = CMSG_FIRSTHDR(mh);
	int fds[REPLY_FDS];

	if (cm == NULL || cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS ||
		cm->cmsg_len != CMSG_LEN(sizeof(fds)))
		return;
	memcpy(fds, CMSG_DATA(cm), sizeof(fds));
	a->cp_doorbell = fds[0];
	if (a->lifeline < 0)
		a->lifeline = fds[1];
	else
		close(fds[1]); /* the same pipe */
}

static int
receive_reply(struct qp_attachment *a, struct qp_errmsg *msg)
{
	struct qp_attach_reply answer, reply;
	struct iovec iov = {&answer, sizeof(answer)};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(REPLY_FDS * sizeof(int))];
	} control;
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
		.msg_controllen = sizeof(control.buf)};
	ssize_t n = recvmsg(a->sock, &mh, MSG_CMSG_CLOEXEC);
	int rc;

	if (n >= 0)
		take_fds(a, &mh);
	rc = qp_attach_reply_read(&answer, n < 0 ? 0 : (size_t)n, &reply, msg);
	if (rc != 0)
		return rc;
	if (a->cp_doorbell < 0 || a->lifeline < 0)
		return qp_fail(msg, QP_E_PROTO, "the control plane sent no doorbell");
	if (a->server_id != 0 && a->server_id != reply.server_id)
		return qp_fail(msg, QP_E_PROTO, "the control plane takes us for another");
	a->server_id = reply.server_id;
	a->version = reply.version;
	return 0;
}

int
qp_attach_connect(struct qp_attachment *a, const char *instance, uint32_t nworkers,
	uint32_t lcore_base, struct qp_errmsg *msg)
{
	int rc;

	*a = (struct qp_attachment) {.sock = -1, .cp_doorbell = -1, .lifeline = -1, .owner = -1,
		.nworkers = nworkers, .lcore_base = lcore_base};
	for (uint32_t i = 0; i < QP_MAX_WORKERS; i++)
		a->doorbell[i] = i < nworkers ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	rc = connect_socket(a, instance, msg);
	if (rc == 0)
		rc = send_hello(a, msg);
	if (rc == 0)
		rc = receive_reply(a, msg);
	if (rc < 0)
		qp_attach_close(a);
	return rc;
}

static uint32_t
ring_bytes(void)
{
	return (uint32_t)rte_ring_get_memsize_elem(sizeof(struct qp_msg), QP_RING_MESSAGES);
}

static struct rte_ring *
make_ring(const struct qp_attachment *a, uint32_t worker, int to_cp)
{
	void *at = (char *)(a->shared + 1) +
		   qp_ring_at(a->nworkers, ring_bytes(), a->epoch, worker, to_cp);

	/* Its size is a power of two: nothing can be wrong. */
	(void)rte_ring_init(at, "", QP_RING_MESSAGES, RING_F_SP_ENQ | RING_F_SC_DEQ);
	return at;
}

static void
make_rings(struct qp_attachment *a)
{
	for (uint32_t i = 0; i < a->nworkers; i++) {
		a->to_cp[i] = make_ring(a, i, 1);
		a->from_cp[i] = make_ring(a, i, 0);
	}
}

int
qp_attach_begin(struct qp_attachment *a, const char *instance, struct qp_errmsg *msg)
{
	struct qp_owner_told told;
	int rc = qp_owner_link_open(instance, &a->owner, msg);

	/* One that cannot be asked yet: all start at once, as they did then. */
	if (rc == QP_E_NOTFOUND)
		return 0;
	return rc == 0 ? qp_owner_link_ask(a->owner, QP_OWNER_BEGIN, &told, msg) : rc;
}

static size_t
block_bytes(const struct qp_attachment *a)
{
	return RTE_ALIGN_CEIL(qp_shared_bytes(a->nworkers, ring_bytes()), RTE_CACHE_LINE_SIZE);
}

void *
qp_attach_zone(struct qp_attachment *a, const char *name, uint64_t bytes, int node,
	struct qp_errmsg *msg)
{
	const struct rte_memzone *zone;
	struct qp_owner_told told;

	if (a->owner >= 0)
		return qp_owner_link_reserve(a->owner, a->server_id, name, bytes, node, &told, msg) == 0
			       ? (void *)(uintptr_t)told.address
			       : NULL;
	/* Of an earlier release, which cannot be asked: by our own hands. */
	zone = rte_memzone_reserve_aligned(name, bytes, SOCKET_ID_ANY, 0, RTE_CACHE_LINE_SIZE);
	if (zone != NULL)
		return zone->addr;
	qp_fail(msg, QP_E_NOMEM,
		"no hugepage memory for a data plane (%s): raise --memory, or reserve more "
		"hugepages (scripts/setup.sh)",
		rte_strerror(rte_errno));
	return NULL;
}

/* A port owner without dedicated ports has no such zone. */
static int
find_nic(struct qp_attachment *a, struct qp_errmsg *msg)
{
	struct qp_owner_told told;
	struct qp_errmsg none;

	if (a->owner < 0 ||
		qp_owner_link_zone(a->owner, QP_OWNER_FIND, a->server_id, QP_NIC_ZONE, 0, &told, &none) != 0)
		return 0;
	a->nic = (struct qp_nic *)(uintptr_t)told.address;
	if (a->nic->magic != QP_NIC_MAGIC || a->nic->version != QP_NIC_VERSION ||
		told.bytes < sizeof(*a->nic))
		return qp_fail(msg, QP_E_VERSION,
			"the port owner's dedicated ports are of version %u, ours of %u: "
			"`quicport admin replace-port-owner`, or restart the gateway",
			a->nic->version, QP_NIC_VERSION);
	return 0;
}

/* A zone each, so that each is on its worker's node. */
static int
get_pools(struct qp_attachment *a, struct qp_errmsg *msg)
{
	char name[RTE_MEMZONE_NAMESIZE];

	for (uint32_t i = 0; i < a->nworkers && a->pool_bytes != 0; i++) {
		snprintf(name, sizeof(name), QP_WORKER_MEMORY_NAME, a->server_id, i);
		a->pools[i] = qp_attach_zone(a, name, a->pool_bytes, a->node[i], msg);
		if (a->pools[i] == NULL)
			return QP_E_NOMEM;
	}
	return 0;
}

static void
make_handoff(struct qp_attachment *a)
{
	if (a->nic == NULL)
		return;
	a->handoff = (uint64_t)(uintptr_t)a->shared + block_bytes(a);
	qp_handoff_init((void *)(uintptr_t)a->handoff, a->nworkers);
	a->shared->handoff_at = (uint32_t)(block_bytes(a) / 64);
	a->shared->handoff_bytes = sizeof(struct qp_handoff_ring);
}

static int
get_memory(struct qp_attachment *a, struct qp_errmsg *msg)
{
	char name[RTE_MEMZONE_NAMESIZE];
	struct qp_owner_told told;
	int rc = a->owner >= 0
			 ? qp_owner_link_ask(a->owner, QP_OWNER_ATTACHED, &told, msg)
			 : 0;

	if (rc == 0)
		rc = find_nic(a, msg);
	if (rc != 0)
		return rc;
	snprintf(name, sizeof(name), QP_SHARED_NAME, a->server_id);
	a->shared = qp_attach_zone(a, name,
		block_bytes(a) + (a->nic != NULL ? qp_handoff_bytes(a->nworkers) : 0), SOCKET_ID_ANY, msg);
	return a->shared != NULL ? get_pools(a, msg) : QP_E_NOMEM;
}

static int
make_shared(struct qp_attachment *a, struct qp_errmsg *msg)
{
	int rc = get_memory(a, msg);

	if (rc != 0)
		return rc;
	qp_shared_init(a->shared, a->nworkers, ring_bytes());
	a->shared->server_id = a->server_id;
	a->shared->pid = getpid();
	a->shared->started_at = (uint64_t)time(NULL);
	a->shared->state = QP_DP_STARTING;
	make_handoff(a);
	make_rings(a);
	return 0;
}

int
qp_attach_share(struct qp_attachment *a, struct qp_errmsg *msg)
{
	struct qp_attach_ready ready = {.magic = QP_ATTACH_MAGIC, .ok = 1};
	int rc = make_shared(a, msg);

	if (rc < 0) {
		ready.ok = 0;
		snprintf(ready.why, sizeof(ready.why), "%.240s", msg->text);
	}
	if (send(a->sock, &ready, sizeof(ready), MSG_NOSIGNAL) != (ssize_t)sizeof(ready) && rc == 0)
		rc = qp_fail(msg, QP_E_CLOSED, "the control plane is gone");
	return rc;
}

int
qp_attach_again(const struct qp_attachment *a, const char *instance,
	struct qp_attachment *next, struct qp_errmsg *msg)
{
	int rc;

	*next = *a;
	next->sock = next->cp_doorbell = -1;
	next->epoch++;
	rc = connect_socket(next, instance, msg);
	if (rc == 0)
		rc = send_hello(next, msg);
	if (rc == 0)
		rc = receive_reply(next, msg);
	if (rc == 0) {
		make_rings(next);
		return 0;
	}
	if (next->sock >= 0)
		close(next->sock);
	if (next->cp_doorbell >= 0)
		close(next->cp_doorbell);
	return rc;
}

int
qp_attach_switch(struct qp_attachment *a, const struct qp_attachment *next, struct qp_errmsg *msg)
{
	const struct qp_attach_ready ready = {.magic = QP_ATTACH_MAGIC, .ok = 1};

	qp_attach_lost(a);
	close(a->cp_doorbell);
	*a = *next;
	if (send(a->sock, &ready, sizeof(ready), MSG_NOSIGNAL) != (ssize_t)sizeof(ready))
		return qp_fail(msg, QP_E_CLOSED, "the control plane is gone again");
	return 0;
}

void
qp_attach_lost(struct qp_attachment *a)
{
	if (a->sock >= 0)
		close(a->sock);
	a->sock = -1;
}

void
qp_attach_close(struct qp_attachment *a)
{
	for (uint32_t i = 0; i < QP_MAX_WORKERS; i++)
		if (a->doorbell[i] >= 0)
			close(a->doorbell[i]);
	if (a->cp_doorbell >= 0)
		close(a->cp_doorbell);
	if (a->sock >= 0)
		close(a->sock);
	if (a->lifeline >= 0)
		close(a->lifeline);
	/* Not `owner`: it ends with the process, and says so to the port owner. */
}
