/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DPDK's libraries ask rte_malloc() for things that are their process's alone:
 * while it starts, EAL takes its tables of services from there. That heap is in
 * shared memory, with one lock, and nobody gives back what a process held that
 * was killed: some 100 KiB each time, and with bad luck the lock. So in data
 * plane and control plane, which share by other means, these functions are the
 * C library's (the linker puts them in the place of DPDK's: common/meson.build).
 * Nothing that lists itself for other processes (rings, mempools, hashes by
 * name) can be made with them. Any thread.
 */
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <rte_memory.h>

#define LINE_BYTES 64u

void *__wrap_rte_malloc(const char *type, size_t size, unsigned align);
void *__wrap_rte_zmalloc(const char *type, size_t size, unsigned align);
void *__wrap_rte_calloc(const char *type, size_t num, size_t size, unsigned align);
void *__wrap_rte_realloc(void *ptr, size_t size, unsigned align);
void *__wrap_rte_malloc_socket(const char *type, size_t size, unsigned align, int socket);
void *__wrap_rte_zmalloc_socket(const char *type, size_t size, unsigned align, int socket);
void *__wrap_rte_calloc_socket(
	const char *type, size_t num, size_t size, unsigned align, int socket);
void *__wrap_rte_realloc_socket(void *ptr, size_t size, unsigned align, int socket);
void __wrap_rte_free(void *ptr);
void __real_rte_free(void *ptr);

void *
__wrap_rte_malloc(const char *type, size_t size, unsigned align)
{
	void *at;

	(void)type;
	/* As DPDK has it: whole cache lines, and nothing for nothing. */
	if (size == 0 || posix_memalign(&at, align > LINE_BYTES ? align : LINE_BYTES, size) != 0)
		return NULL;
	return at;
}

void *
__wrap_rte_zmalloc(const char *type, size_t size, unsigned align)
{
	void *at = __wrap_rte_malloc(type, size, align);

	return at != NULL ? memset(at, 0, size) : NULL;
}

void *
__wrap_rte_calloc(const char *type, size_t num, size_t size, unsigned align)
{
	size_t all;

	return __builtin_mul_overflow(num, size, &all) ? NULL : __wrap_rte_zmalloc(type, all, align);
}

void *
__wrap_rte_realloc(void *ptr, size_t size, unsigned align)
{
	void *at = __wrap_rte_malloc(NULL, size, align);

	if (ptr == NULL || (at == NULL && size != 0))
		return at;
	if (at != NULL) {
		size_t had = malloc_usable_size(ptr);

		memcpy(at, ptr, had < size ? had : size);
	}
	free(ptr);
	return at;
}

void *
__wrap_rte_malloc_socket(const char *type, size_t size, unsigned align, int socket)
{
	(void)socket;
	return __wrap_rte_malloc(type, size, align);
}

void *
__wrap_rte_zmalloc_socket(const char *type, size_t size, unsigned align, int socket)
{
	(void)socket;
	return __wrap_rte_zmalloc(type, size, align);
}

void *
__wrap_rte_calloc_socket(const char *type, size_t num, size_t size, unsigned align, int socket)
{
	(void)socket;
	return __wrap_rte_calloc(type, num, size, align);
}

void *
__wrap_rte_realloc_socket(void *ptr, size_t size, unsigned align, int socket)
{
	(void)socket;
	return __wrap_rte_realloc(ptr, size, align);
}

/* A memzone is freed by this name, too: one of the shared heap goes back there. */
void
__wrap_rte_free(void *ptr)
{
	if (ptr != NULL && rte_mem_virt2memseg_list(ptr) != NULL)
		__real_rte_free(ptr);
	else
		free(ptr);
}
