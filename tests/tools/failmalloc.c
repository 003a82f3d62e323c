/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * LD_PRELOAD: lets malloc fail now and then. The programs under test count
 * malloc themselves and have glibc's under the names that stand here.
 *
 * QP_FAIL_FILE is a struct plan that the test writes while they run;
 * QP_FAIL_PROGRAM is the name of the program that it is about. Which call
 * fails is drawn from a generator with a seed.
 */
struct plan {
	uint32_t one_in;  /* 0: none fails */
	uint32_t seed;
	uint64_t calls;   /* since it was armed */
	uint64_t failed;
};

static volatile struct plan *plan;
static _Atomic uint64_t state;

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_memalign)(size_t, size_t);

static void
find_real(void)
{
	real_malloc = dlsym(RTLD_NEXT, "__libc_malloc");
	real_calloc = dlsym(RTLD_NEXT, "__libc_calloc");
	real_realloc = dlsym(RTLD_NEXT, "__libc_realloc");
	real_memalign = dlsym(RTLD_NEXT, "__libc_memalign");
	if (real_malloc == NULL || real_calloc == NULL || real_realloc == NULL || real_memalign == NULL)
		abort();
}

__attribute__((constructor)) static void
map_plan(void)
{
	const char *path = getenv("QP_FAIL_FILE"), *program = getenv("QP_FAIL_PROGRAM");
	void *at;
	int fd;

	if (path == NULL || program == NULL || strcmp(program_invocation_short_name, program) != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		plan = at;
}

static int
fails(void)
{
	uint64_t x;

	if (plan == NULL || plan->one_in == 0)
		return 0;
	x = atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15)) + plan->seed; /* splitmix64 */
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	__atomic_fetch_add(&plan->calls, 1, __ATOMIC_RELAXED);
	if (x % plan->one_in != 0)
		return 0;
	__atomic_fetch_add(&plan->failed, 1, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return 1;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *
__libc_malloc(size_t size)
{
	if (real_malloc == NULL)
		find_real();
	return fails() ? NULL : real_malloc(size);
}

void *
__libc_calloc(size_t n, size_t size)
{
	if (real_calloc == NULL)
		find_real();
	return fails() ? NULL : real_calloc(n, size);
}

void *
__libc_realloc(void *p, size_t size)
{
	if (real_realloc == NULL)
		find_real();
	return size > 0 && fails() ? NULL : real_realloc(p, size);
}

void *
__libc_memalign(size_t alignment, size_t size)
{
	if (real_memalign == NULL)
		find_real();
	return fails() ? NULL : real_memalign(alignment, size);
}
