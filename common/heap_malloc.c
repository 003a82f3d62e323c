/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc and its like of a program that links this file: glibc's, counted. The
 * program's own symbols go before the C library's, for every library that it
 * loads, too ("Replacing malloc" in glibc's manual). Any thread.
 *
 * A build with a sanitizer has an allocator of its own and counts nothing.
 */
#include "common/heap.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#ifndef SANITIZED

#define PAGE_BYTES 4096u

/* glibc's under the names that stay when malloc is replaced. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);

static void *
counted(void *p)
{
	if (p == NULL)
		qp_heap_count_failure();
	else
		qp_heap_count((int64_t)malloc_usable_size(p));
	return p;
}

void *
malloc(size_t size)
{
	return counted(__libc_malloc(size));
}

void *
calloc(size_t n, size_t size)
{
	return counted(__libc_calloc(n, size));
}

void
free(void *p)
{
	if (p == NULL)
		return;
	qp_heap_count(-(int64_t)malloc_usable_size(p));
	__libc_free(p);
}

void *
realloc(void *p, size_t size)
{
	int64_t before = p != NULL ? (int64_t)malloc_usable_size(p) : 0;
	void *q = __libc_realloc(p, size);

	/* glibc's realloc(p, 0) frees, and says NULL. */
	if (q == NULL && size > 0)
		qp_heap_count_failure();
	else
		qp_heap_count((q != NULL ? (int64_t)malloc_usable_size(q) : 0) - before);
	return q;
}

void *
memalign(size_t alignment, size_t size)
{
	return counted(__libc_memalign(alignment, size));
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	return counted(__libc_memalign(alignment, size));
}

int
posix_memalign(void **out, size_t alignment, size_t size)
{
	void *p;

	if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0)
		return EINVAL;
	p = counted(__libc_memalign(alignment, size));
	if (p == NULL)
		return ENOMEM;
	*out = p;
	return 0;
}

void *
valloc(size_t size)
{
	return counted(__libc_memalign(PAGE_BYTES, size));
}

void *
pvalloc(size_t size)
{
	return counted(__libc_memalign(PAGE_BYTES, (size + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1)));
}

#endif
