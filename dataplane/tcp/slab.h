/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_SLAB_H
#define QP_DATAPLANE_TCP_SLAB_H

#include <stddef.h>

/*
 * Objects of one size from chunks: a packet costs no heap call once its like
 * has been seen. Chunks beyond a little are given back when no object is left in
 * use. Owner: one lcore.
 */
struct qp_slab {
	size_t size;       /* of an object, rounded up */
	size_t bytes;      /* of all chunks */
	size_t mapped_bytes; /* of those that are mapped, not from the heap */
	void *free;        /* linked through their first word */
	void *chunks;      /* linked through their first word */
	size_t used;       /* objects handed out */
};

void qp_slab_init(struct qp_slab *s, size_t object_bytes);
/* Not cleared. NULL when out of memory. */
void *qp_slab_get(struct qp_slab *s);
/* The object is gone on return. */
void qp_slab_put(struct qp_slab *s, void *object);
/* Frees all chunks, whatever is still handed out. */
void qp_slab_release(struct qp_slab *s);

#endif
