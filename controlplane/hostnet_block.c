/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources that the classifier keeps out: a trie of networks, this gateway's
 * alone, since each gateway has a classifier of its own. Loop thread.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "controlplane/hostnet_impl.h"

#include "classifier.skel.h" /* needs the layout of the maps */

static int
map_of(const struct qp_hostnet *h)
{
	return bpf_map__fd(h->bpf->maps.blocked);
}

/* Host bits count for nothing. */
static struct qp_cls_network
key_of(const struct qp_msg_network *n)
{
	struct qp_cls_network key = {.prefix = n->prefix};
	uint8_t *addr = (uint8_t *)&key.addr;

	for (unsigned i = 0; i < sizeof(n->addr); i++) {
		const unsigned bits = n->prefix > 8 * i ? n->prefix - 8 * i : 0;

		addr[i] = n->addr[i] & (uint8_t)(bits >= 8 ? 0xff : 0xff00 >> bits);
	}
	return key;
}

int
qp_hostnet_block(struct qp_hostnet *h, const struct qp_msg_network *n, struct qp_errmsg *msg)
{
	const struct qp_cls_network key = key_of(n);
	const uint8_t yes = h->block_mark != 0 ? h->block_mark : 1;

	if (n->prefix > 128)
		return qp_fail(msg, QP_E_INVAL, "a network's prefix has 128 bits at most");
	if (bpf_map_update_elem(map_of(h), &key, &yes, BPF_ANY) == 0)
		return 0;
	if (errno == ENOSPC)
		return qp_fail(msg, QP_E_FULL, "%u networks are kept out already", QP_CLS_MAX_BLOCKED);
	return qp_fail(msg, qp_err_from_errno(errno), "the classifier takes no network: %s",
		strerror(errno));
}

int
qp_hostnet_unblock(struct qp_hostnet *h, const struct qp_msg_network *n)
{
	const struct qp_cls_network key = key_of(n);

	if (n->prefix > 128 || bpf_map_delete_elem(map_of(h), &key) != 0)
		return QP_E_NOTFOUND;
	return 0;
}

bool
qp_hostnet_blocked_next(
	const struct qp_hostnet *h, const struct qp_msg_network *after, struct qp_msg_network *out)
{
	struct qp_cls_network key, next;

	if (after != NULL)
		key = key_of(after);
	if (bpf_map_get_next_key(map_of(h), after != NULL ? &key : NULL, &next) != 0)
		return false;
	memcpy(out->addr, &next.addr, sizeof(out->addr));
	out->prefix = (uint8_t)next.prefix;
	return true;
}
