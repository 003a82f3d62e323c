/* SPDX-License-Identifier: Apache-2.0 */
/* Agreeing on a version. No state; what came from another process is looked at here first. */
#include "common/ipc_version.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What version 3 sends: more may follow, less may not be. */
#define ATTACH_BYTES_MIN offsetof(struct qp_attach, newest)
#define REPLY_BYTES_MIN  offsetof(struct qp_attach_reply, oldest)

const struct qp_ipc_range qp_ipc_own = {QP_IPC_OLDEST, QP_IPC_VERSION};

struct qp_ipc_range
qp_ipc_range_of(uint32_t version, uint32_t newest)
{
	if (version == 0 || newest < version)
		newest = version;
	return (struct qp_ipc_range) {version, newest};
}

uint32_t
qp_ipc_common(struct qp_ipc_range a, struct qp_ipc_range b)
{
	const uint32_t oldest = a.oldest > b.oldest ? a.oldest : b.oldest;
	const uint32_t newest = a.newest < b.newest ? a.newest : b.newest;

	return newest >= oldest ? newest : 0;
}

const char *
qp_ipc_range_text(struct qp_ipc_range r, char out[QP_IPC_RANGE_TEXT_BYTES])
{
	if (r.oldest == r.newest)
		snprintf(out, QP_IPC_RANGE_TEXT_BYTES, "%u", r.newest);
	else
		snprintf(out, QP_IPC_RANGE_TEXT_BYTES, "%u to %u", r.oldest, r.newest);
	return out;
}

/* A peer that knows no range reads of us what is nearest to its own. */
static uint32_t
nearest(struct qp_ipc_range peer)
{
	return peer.newest < qp_ipc_own.oldest ? qp_ipc_own.oldest : qp_ipc_own.newest;
}

static int
refuse_version(struct qp_ipc_range peer, bool runs, struct qp_errmsg *msg)
{
	char theirs[QP_IPC_RANGE_TEXT_BYTES], ours[QP_IPC_RANGE_TEXT_BYTES];

	return qp_fail(msg, QP_E_VERSION,
		"the %sdata plane speaks ring protocol %s, this control plane %s: %s",
		runs ? "running " : "", qp_ipc_range_text(peer, theirs),
		qp_ipc_range_text(qp_ipc_own, ours),
		runs ? "its tunnels run on; start a control plane of its release, or of the one "
		       "before or after it"
		     : "install both from one release, or from two that follow each other");
}

int
qp_attach_read(const void *bytes, size_t len, unsigned nfds, struct qp_attach *out,
	uint32_t *version, struct qp_errmsg *msg)
{
	struct qp_ipc_range peer;

	memset(out, 0, sizeof(*out));
	memcpy(out, bytes, len < sizeof(*out) ? len : sizeof(*out));
	*version = qp_ipc_own.newest;
	if (len < ATTACH_BYTES_MIN || out->magic != QP_ATTACH_MAGIC)
		return qp_fail(msg, QP_E_PROTO, "this is not a data plane's request");
	peer = qp_ipc_range_of(out->version, out->newest);
	*version = qp_ipc_common(peer, qp_ipc_own);
	if (*version == 0) {
		*version = nearest(peer);
		return refuse_version(peer, out->server_id != 0, msg);
	}
	if (out->nworkers == 0 || out->nworkers > QP_MAX_WORKERS ||
		nfds != out->nworkers + (out->server_id != 0))
		return qp_fail(msg, QP_E_PROTO, "a data plane with %u workers sent %u descriptors",
			out->nworkers, nfds);
	return 0;
}

void
qp_attach_answer(
	struct qp_attach_reply *out, uint32_t version, uint32_t server_id, const char *why)
{
	*out = (struct qp_attach_reply) {.magic = QP_ATTACH_MAGIC,
		.version = version,
		.server_id = server_id,
		.oldest = qp_ipc_own.oldest,
		.newest = qp_ipc_own.newest};
	if (server_id == 0)
		snprintf(out->why, sizeof(out->why), "%s", why);
}

int
qp_attach_reply_read(
	const void *bytes, size_t len, struct qp_attach_reply *out, struct qp_errmsg *msg)
{
	char theirs[QP_IPC_RANGE_TEXT_BYTES], ours[QP_IPC_RANGE_TEXT_BYTES];

	memset(out, 0, sizeof(*out));
	memcpy(out, bytes, len < sizeof(*out) ? len : sizeof(*out));
	if (len < REPLY_BYTES_MIN || out->magic != QP_ATTACH_MAGIC)
		return qp_fail(msg, QP_E_CLOSED, "the control plane did not answer as one");
	out->why[sizeof(out->why) - 1] = '\0';
	if (out->server_id == 0 && out->why[0] != '\0')
		return qp_fail(msg, QP_E_PERM, "the control plane refuses: %s", out->why);
	if (out->version < qp_ipc_own.oldest || out->version > qp_ipc_own.newest)
		return qp_fail(msg, QP_E_VERSION,
			"the control plane speaks ring protocol %s, this data plane %s: install "
			"both from one release, or from two that follow each other",
			qp_ipc_range_text(out->oldest != 0 ? qp_ipc_range_of(out->oldest, out->newest)
							   : qp_ipc_range_of(out->version, 0),
				theirs),
			qp_ipc_range_text(qp_ipc_own, ours));
	if (out->server_id == 0 || out->server_id > UINT16_MAX)
		return qp_fail(msg, QP_E_PROTO, "the control plane gave no id");
	return 0;
}
