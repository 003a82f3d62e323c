/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port owner's sandbox. Written as BPF by hand: the list is short, and one
 * library less in a process that is to be read in one sitting.
 */
#include "dataplane/owner_sandbox.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the port owner's system calls are not known for this machine"
#endif

#define FIELD(member) ((uint32_t)offsetof(struct seccomp_data, member))
/* The low half of an argument; both machines are little-endian. */
#define ARG(n) ((uint32_t)offsetof(struct seccomp_data, args[n]))

#define CAP_ALWAYS    (1u << CAP_DAC_OVERRIDE)
#define CAP_FOR_PORTS (1u << CAP_NET_ADMIN | 1u << CAP_NET_RAW | 1u << CAP_IPC_LOCK)

/* Whatever their arguments. */
static const int allowed[] = {
	/* waiting, and EAL's interrupt thread */
	SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_futex,
	SYS_clock_nanosleep, SYS_nanosleep, SYS_restart_syscall, SYS_timerfd_create,
	SYS_timerfd_settime, SYS_timerfd_gettime, SYS_eventfd2,
	/* descriptors */
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_close, SYS_dup,
	SYS_dup3, SYS_fcntl, SYS_lseek, SYS_fstat, SYS_flock, SYS_ftruncate, SYS_fsync,
	SYS_fdatasync, SYS_pipe2, SYS_memfd_create,
	/* files: the log's anew, EAL's own away */
	SYS_openat, SYS_newfstatat, SYS_statx, SYS_faccessat, SYS_faccessat2, SYS_readlinkat,
	SYS_getdents64, SYS_unlinkat, SYS_statfs, SYS_fstatfs,
	/* control planes, data planes, telemetry, the journal: sockets that are there, and Unix ones */
	SYS_accept, SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_shutdown,
	SYS_getsockopt, SYS_setsockopt, SYS_getsockname, SYS_getpeername, SYS_connect,
	/* memory and threads */
	SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_get_mempolicy, SYS_set_robust_list,
	SYS_rseq, SYS_gettid, SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid,
	SYS_getegid, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_getrandom,
	SYS_getcpu, SYS_uname, SYS_sysinfo, SYS_prlimit64, SYS_set_tid_address,
	/* signals, time, the end, and whether another process has come to its own */
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait,
	SYS_sigaltstack, SYS_tgkill, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday,
	SYS_exit, SYS_exit_group, SYS_pidfd_open,
#if defined(__x86_64__)
	/* the same by older names */
	SYS_poll, SYS_select, SYS_epoll_wait, SYS_open, SYS_stat, SYS_lstat, SYS_access,
	SYS_readlink, SYS_unlink, SYS_rmdir, SYS_getdents, SYS_pipe, SYS_dup2, SYS_time,
	SYS_epoll_create, SYS_eventfd,
#endif
};

struct filter {
	unsigned n;
	struct sock_filter code[2 * sizeof(allowed) / sizeof(allowed[0]) + 64];
};

static void
add(struct filter *f, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	f->code[f->n++] = (struct sock_filter) BPF_JUMP(code, k, yes, no);
}

/* The call `nr` if argument `arg`'s low half, masked, has the value; else it is refused. */
static void
allow_if(struct filter *f, int nr, unsigned arg, uint32_t mask, uint32_t value)
{
	add(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 5);
	add(f, BPF_LD | BPF_W | BPF_ABS, ARG(arg), 0, 0);
	add(f, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
	add(f, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
	add(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	add(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0);
}

static void
fill(struct filter *f, bool ports)
{
	/* Another machine's numbers (32-bit calls) mean something else. */
	add(f, BPF_LD | BPF_W | BPF_ABS, FIELD(arch), 0, 0);
	add(f, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	add(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0);
	add(f, BPF_LD | BPF_W | BPF_ABS, FIELD(nr), 0, 0);
	for (unsigned i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		add(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
		add(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	}
	allow_if(f, SYS_socket, 0, UINT32_MAX, AF_UNIX);
	/* How drivers ask their device: vfio, vhost, a TAP. None is opened any more. */
	if (ports)
		allow_if(f, SYS_ioctl, 0, 0, 0);
	/* Memory, but no more program: not even one that is written here. */
	allow_if(f, SYS_mmap, 2, PROT_EXEC, 0);
	allow_if(f, SYS_mprotect, 2, PROT_EXEC, 0);
	allow_if(f, SYS_prctl, 0, UINT32_MAX, PR_SET_NAME);
	/* Threads (telemetry has one for each who asks), no processes. */
	allow_if(f, SYS_clone, 0, CLONE_THREAD | CLONE_NEWUSER | CLONE_NEWNET, CLONE_THREAD);
	/* Its flags are behind a pointer. The C library then does with clone. */
	add(f, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1);
	add(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
	add(f, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM, 0, 0);
}

/* The main thread's; others keep what they have started with. */
static int
keep_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &header, caps) != 0)
		return errno;
	for (unsigned i = 0; i < 2; i++) {
		caps[i].effective &= i == 0 ? kept : 0;
		caps[i].permitted = caps[i].effective;
		caps[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, caps) == 0 ? 0 : errno;
}

int
qp_owner_sandbox_close(bool ports, struct qp_errmsg *msg)
{
	static struct filter f;
	struct sock_fprog prog = {.filter = f.code};
	long rc;

	fill(&f, ports);
	assert(f.n <= sizeof(f.code) / sizeof(f.code[0]));
	prog.len = (unsigned short)f.n;
	if (keep_capabilities(CAP_ALWAYS) != 0)
		return qp_fail(msg, QP_E_IO, "capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return qp_fail(msg, QP_E_IO, "no_new_privs: %s", strerror(errno));
	rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG, &prog);
	if (rc != 0)
		return qp_fail(msg, QP_E_IO, "seccomp: %s",
			rc > 0 ? "a thread cannot be filtered" : strerror(errno));
	return 0;
}

int
qp_owner_sandbox_begin(bool ports, struct qp_errmsg *msg)
{
	int err;

	/* Without CAP_SYS_ADMIN it stays where it is: a unit's PrivateNetwork=, or the filter alone. */
	if (!ports && unshare(CLONE_NEWNET) != 0 && errno != EPERM)
		return qp_fail(msg, QP_E_IO, "no network namespace: %s", strerror(errno));
	err = keep_capabilities(CAP_ALWAYS | (ports ? CAP_FOR_PORTS : 0));
	return err == 0 ? 0 : qp_fail(msg, QP_E_IO, "capabilities: %s", strerror(err));
}
