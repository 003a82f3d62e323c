/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_LOG_SINK_H
#define QP_COMMON_LOG_SINK_H

#include "common/log_line.h"

#define QP_LOG_PROCESS_BYTES 48u

/*
 * Where lines go, for log.c, log_sink.c and log_journal.c alone. Never changed
 * once published, never freed: another thread may hold it. The chain of
 * predecessors is as long as the calls of qp_log_init: a handful.
 */
struct qp_log_sink {
	const struct qp_log_sink *before;
	enum qp_log_format format;
	int fd;
	bool is_file; /* fd is ours */
	bool journal; /* instead of fd */
	bool colour;
	unsigned rate;
	uint32_t generation;
	char process[QP_LOG_PROCESS_BYTES];
	char path[256]; /* of a file */
};

/* Acquire: the struct is complete before its address is seen. */
const struct qp_log_sink *qp_log_sink(void);

/* An event. `left_out`: lines of its place that were not written. */
struct qp_log_event {
	enum qp_log_level level;
	enum qp_log_module module;
	const char *message;
	const struct qp_log_field *fields;
	uint32_t left_out;
};

/*
 * A line, whole or not at all, to a sink that is a file. False: it is lost;
 * errno is undefined.
 */
bool qp_log_file_write(const struct qp_log_sink *s, const char *text, size_t len);
/* Lines lost since the last call. */
uint64_t qp_log_file_untold(void);

/* As one entry of the journal, a field each. */
void qp_log_to_journal(const struct qp_log_sink *s, const struct qp_log_event *e);
/* sd_journal_sendv; NULL: this program has no journal. */
extern int (*qp_log_journal_sendv)(const struct iovec *iov, int n);

#endif
