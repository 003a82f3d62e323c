/* SPDX-License-Identifier: Apache-2.0 */
/* How many entries the classifier's maps have: asked of the kernel, for /metrics. Loop thread. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "controlplane/hostnet_impl.h"

#include "classifier.skel.h" /* needs the layout of the maps */

#define BATCH 1024u

/* A batch at a time: a hundred thousand ports are a hundred system calls. */
static uint64_t
count(const struct bpf_map *map)
{
	const size_t key = bpf_map__key_size(map), value = bpf_map__value_size(map);
	char *buf = malloc(BATCH * (key + value));
	uint64_t all = 0;
	uint32_t next[16]; /* where the next batch begins: a bucket's number, or a key of 16 bytes and its prefix */
	bool first = true;
	__u32 n;
	int rc = 0;

	while (buf != NULL && rc == 0) {
		n = BATCH;
		rc = bpf_map_lookup_batch(bpf_map__fd(map), first ? NULL : next, next, buf,
			buf + BATCH * key, &n, NULL);
		if (rc == 0 || errno == ENOENT) /* the last one */
			all += n;
		first = false;
	}
	free(buf);
	return all;
}

unsigned
qp_hostnet_map_entries(const struct qp_hostnet *h, struct qp_hostnet_entries *out, unsigned max)
{
	const struct {
		const char *name;
		const struct bpf_map *map;
	} maps[] = {{"workers", h->bpf->maps.workers}, {"active", h->bpf->maps.active},
		{"ports", h->bpf->maps.ports}, {"local", h->bpf->maps.local},
		{"links", h->bpf->maps.links}, {"blocked", h->bpf->maps.blocked},
		{"fragments", h->bpf->maps.fragments}};
	unsigned n = 0;

	for (; n < sizeof(maps) / sizeof(maps[0]) && n < max; n++)
		out[n] = (struct qp_hostnet_entries) {maps[n].name, count(maps[n].map)};
	return n;
}
