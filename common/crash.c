/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last words. Any thread, in a signal handler: what is called there is
 * async-signal-safe (signal-safety(7)), but for backtrace(), whose library is
 * loaded before.
 */
#include "common/crash.h"

#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define MODULES 96u
#define FRAMES 64
#define STACK_BYTES (64u * 1024)
#define BUILD_ID_BYTES 20u

/* A program or library in memory, for addresses that mean something in its file. */
struct module {
	uintptr_t base, start, end;
	char name[64];
	uint8_t build_id[BUILD_ID_BYTES];
	uint8_t build_id_len;
};

static struct {
	struct qp_last_words *words;
	char path[PATH_MAX];
	struct module module[MODULES];
	unsigned nmodules;
	atomic_flag taken;
	struct qp_last_words own; /* what goes to a file or stderr */
} crash = {.taken = ATOMIC_FLAG_INIT};

static _Thread_local const char *thread_name;

/* Text, without stdio. */

static void
put(struct qp_last_words *w, const char *text)
{
	const size_t n = strlen(text), left = sizeof(w->text) - w->len;
	const size_t take = n < left ? n : left;

	memcpy(w->text + w->len, text, take);
	w->len += (uint32_t)take;
}

static void
put_number(struct qp_last_words *w, uint64_t value, unsigned base)
{
	char digits[24], *at = digits + sizeof(digits);

	*--at = '\0';
	do
		*--at = "0123456789abcdef"[value % base];
	while ((value /= base) != 0);
	if (base == 16)
		put(w, "0x");
	put(w, at);
}

static void
put_signal(struct qp_last_words *w, const siginfo_t *info)
{
	const char *name = sigabbrev_np(info->si_signo);
	struct timespec now = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	put(w, "signal ");
	put_number(w, (uint64_t)info->si_signo, 10);
	put(w, name != NULL ? " (SIG" : " (");
	put(w, name != NULL ? name : "?");
	if (info->si_code <= 0) { /* SI_USER, SI_TKILL */
		put(w, ") sent by process ");
		put_number(w, (uint64_t)info->si_pid, 10);
	} else {
		put(w, ") at address ");
		put_number(w, (uintptr_t)info->si_addr, 16);
	}
	put(w, "\nversion " QP_VERSION "\ntime ");
	put_number(w, (uint64_t)now.tv_sec, 10);
	put(w, "\nthread ");
	put(w, thread_name != NULL ? thread_name : "of a library");
	put(w, ", tid ");
	put_number(w, (uint64_t)gettid(), 10);
	put(w, "\n");
}

#if defined(__x86_64__)

static uintptr_t
program_counter(const ucontext_t *uc)
{
	return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
}

static void
put_registers(struct qp_last_words *w, const ucontext_t *uc)
{
	static const struct {
		const char *name;
		int index;
	} reg[] = {{"rip", REG_RIP}, {"rsp", REG_RSP}, {"rbp", REG_RBP}, {"rax", REG_RAX},
		{"rbx", REG_RBX}, {"rcx", REG_RCX}, {"rdx", REG_RDX}, {"rsi", REG_RSI},
		{"rdi", REG_RDI}, {"r8", REG_R8}, {"r9", REG_R9}, {"r10", REG_R10},
		{"r11", REG_R11}, {"r12", REG_R12}, {"r13", REG_R13}, {"r14", REG_R14},
		{"r15", REG_R15}, {"flags", REG_EFL}};

	put(w, "registers");
	for (size_t i = 0; i < sizeof(reg) / sizeof(reg[0]); i++) {
		put(w, " ");
		put(w, reg[i].name);
		put(w, "=");
		put_number(w, (uint64_t)uc->uc_mcontext.gregs[reg[i].index], 16);
	}
	put(w, "\n");
}

#elif defined(__aarch64__)

static uintptr_t
program_counter(const ucontext_t *uc)
{
	return (uintptr_t)uc->uc_mcontext.pc;
}

static void
put_registers(struct qp_last_words *w, const ucontext_t *uc)
{
	put(w, "registers pc=");
	put_number(w, uc->uc_mcontext.pc, 16);
	put(w, " sp=");
	put_number(w, uc->uc_mcontext.sp, 16);
	for (unsigned i = 0; i < 31; i++) {
		put(w, " x");
		put_number(w, i, 10);
		put(w, "=");
		put_number(w, uc->uc_mcontext.regs[i], 16);
	}
	put(w, "\n");
}

#else
#error "registers of this architecture are not known here"
#endif

static const struct module *
module_of(uintptr_t at)
{
	for (unsigned i = 0; i < crash.nmodules; i++) {
		if (at >= crash.module[i].start && at < crash.module[i].end)
			return &crash.module[i];
	}
	return NULL;
}

/* "#3 quicport-data-plane+0x1234": what addr2line -e FILE takes. */
static void
put_frame(struct qp_last_words *w, unsigned number, uintptr_t at)
{
	const struct module *m = module_of(at);

	put(w, "#");
	put_number(w, number, 10);
	put(w, " ");
	if (m != NULL) {
		put(w, m->name);
		put(w, "+");
		put_number(w, at - m->base, 16);
	} else {
		put_number(w, at, 16);
	}
	put(w, "\n");
}

static void
put_module(struct qp_last_words *w, const struct module *m)
{
	char hex[3] = "";

	put(w, "module ");
	put(w, m->name);
	put(w, " at ");
	put_number(w, m->base, 16);
	put(w, " build-id ");
	for (unsigned i = 0; i < m->build_id_len; i++) {
		hex[0] = "0123456789abcdef"[m->build_id[i] >> 4];
		hex[1] = "0123456789abcdef"[m->build_id[i] & 15];
		put(w, hex);
	}
	put(w, "\n");
}

/* From the interrupted function on: the handler's own frames come before it. */
static void
put_backtrace(struct qp_last_words *w, uintptr_t pc)
{
	bool used[MODULES] = {false};
	const struct module *m;
	void *frame[FRAMES];
	int n, first = 0;

	put(w, "backtrace\n");
	put_frame(w, 0, pc); /* in case that the unwinder stumbles, too */
	n = backtrace(frame, FRAMES);
	while (first < n && (uintptr_t)frame[first] != pc)
		first++;
	first = first == n ? 0 : first + 1;
	for (int i = first; i < n; i++) /* a return address is behind its call */
		put_frame(w, (unsigned)(i - first) + 1, (uintptr_t)frame[i] - 1);
	if ((m = module_of(pc)) != NULL)
		used[m - crash.module] = true;
	for (int i = first; i < n; i++) {
		if ((m = module_of((uintptr_t)frame[i] - 1)) != NULL)
			used[m - crash.module] = true;
	}
	for (unsigned i = 0; i < crash.nmodules; i++) {
		if (used[i])
			put_module(w, &crash.module[i]);
	}
}

static void
write_out(const struct qp_last_words *w)
{
	int fd = crash.path[0] != '\0'
			 ? open(crash.path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600)
			 : STDERR_FILENO;

	for (size_t at = 0; fd >= 0 && at < w->len;) {
		ssize_t n = write(fd, w->text + at, w->len - at);

		if (n <= 0)
			return;
		at += (size_t)n;
	}
}

static void
on_crash(int signum, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	struct qp_last_words *w = crash.words != NULL ? crash.words : &crash.own;

	/* Another thread speaks already, and will end us all. */
	while (atomic_flag_test_and_set(&crash.taken))
		pause();
	w->len = 0;
	put_signal(w, info);
	put_registers(w, uc);
	put_backtrace(w, program_counter(uc));
	if (crash.words == NULL)
		write_out(w);
	/* Blocked until we return to where it happened; then it does what it does by default. */
	signal(signum, SIG_DFL);
	raise(signum);
}

#ifndef QP_CRASH_SANITIZED

static void
take_build_id(struct module *m, const uint8_t *notes, size_t len)
{
	while (len >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *n = (const ElfW(Nhdr) *)(const void *)notes;
		const size_t name = (n->n_namesz + 3u) & ~3u, desc = (n->n_descsz + 3u) & ~3u;
		const size_t all = sizeof(*n) + name + desc;

		if (all > len)
			return;
		if (n->n_type == NT_GNU_BUILD_ID && n->n_descsz <= BUILD_ID_BYTES) {
			m->build_id_len = (uint8_t)n->n_descsz;
			memcpy(m->build_id, notes + sizeof(*n) + name, n->n_descsz);
		}
		notes += all;
		len -= all;
	}
}

static int
take_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct module *m = &crash.module[crash.nmodules];
	char path[PATH_MAX] = "";
	const char *base;

	(void)size;
	(void)arg;
	if (crash.nmodules == MODULES)
		return 1;
	*m = (struct module) {.base = info->dlpi_addr, .start = UINTPTR_MAX};
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		const uintptr_t at = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_LOAD && at < m->start)
			m->start = at;
		if (p->p_type == PT_LOAD && at + p->p_memsz > m->end)
			m->end = at + p->p_memsz;
		if (p->p_type == PT_NOTE)
			take_build_id(m, (const uint8_t *)at, p->p_memsz);
	}
	/* The program itself has no name in this list. */
	if (info->dlpi_name[0] != '\0' || readlink("/proc/self/exe", path, sizeof(path) - 1) < 0)
		snprintf(path, sizeof(path), "%s", info->dlpi_name);
	base = strrchr(path, '/');
	snprintf(m->name, sizeof(m->name), "%.63s", base != NULL ? base + 1 : path);
	crash.nmodules++;
	return 0;
}

static void
take_modules(void)
{
	void *frame[2];

	(void)backtrace(frame, 2); /* loads the unwinder while it may allocate */
	crash.nmodules = 0;
	dl_iterate_phdr(take_module, NULL);
}

void
qp_crash_handle(const struct qp_crash_config *cfg)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	struct sigaction sa = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	crash.words = cfg->words;
	if (crash.words != NULL) {
		memset(crash.words, 0, sizeof(*crash.words));
		crash.words->magic = QP_LAST_WORDS_MAGIC;
	}
	snprintf(crash.path, sizeof(crash.path), "%s", cfg->path != NULL ? cfg->path : "");
	take_modules();
	/* Blocked while one is told: a second crash, in the handler, ends the process at once. */
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

void
qp_crash_this_thread(const char *name)
{
	stack_t stack = {.ss_size = STACK_BYTES};

	thread_name = name;
	stack.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack.ss_sp != MAP_FAILED)
		sigaltstack(&stack, NULL);
}

#else

void
qp_crash_handle(const struct qp_crash_config *cfg)
{
	(void)cfg;
	(void)on_crash;
}

void
qp_crash_this_thread(const char *name)
{
	thread_name = name;
}

#endif
