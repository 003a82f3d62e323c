/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_CRASH_H
#define QP_COMMON_CRASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * The last words of a process that crashes (SIGSEGV, SIGBUS, SIGILL, SIGFPE,
 * SIGABRT): signal, address, registers and backtrace as text, without anything
 * that stood in memory. Then the signal does what it would have done, core dump
 * included. Nothing in a handler allocates or locks but the unwinder's own list
 * of modules.
 *
 * A data plane speaks into a memzone of its generation, which its control plane
 * reads when it is dead; others write a file, or to stderr.
 */
#define QP_LAST_WORDS_NAME "qp_words_%u" /* memzone; server id */
#define QP_LAST_WORDS_MAGIC 0x51504c57u  /* "QPLW" */
#define QP_LAST_WORDS_BYTES 8192u

struct qp_last_words {
	uint32_t magic;
	uint32_t len;          /* of text, so far: it grows while the handler writes */
	char text[QP_LAST_WORDS_BYTES - 8];
};
_Static_assert(sizeof(struct qp_last_words) == QP_LAST_WORDS_BYTES, "two processes agree on it");

/* A sanitizer reports by itself, and nothing here does anything. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QP_CRASH_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define QP_CRASH_SANITIZED 1
#endif
#endif

struct qp_crash_config {
	struct qp_last_words *words; /* borrowed for the process's life; NULL: see `path` */
	const char *path;            /* a file to make, 0600; copied; NULL: stderr */
};

/*
 * Installs the handlers; again, to speak to another place. After the modules are
 * loaded: it remembers where they are.
 */
void qp_crash_handle(const struct qp_crash_config *cfg);
/*
 * Gives the calling thread a stack for its handler, so that an overflow of its
 * own is told, too, and a name for the report. `name` is borrowed for the thread's life.
 */
void qp_crash_this_thread(const char *name);

#endif
