/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CLIENT_KNOWN_HOSTS_H
#define QP_CLIENT_KNOWN_HOSTS_H

#include <stddef.h>

#include "common/cert.h"
#include "common/error.h"

/*
 * The file of servers that were trusted before: lines `host:port FINGERPRINT`,
 * # comments. Blocks on the file; any thread. `host` is "name:port" as the user
 * wrote it (brackets around IPv6); names match without regard to case.
 */
enum qpc_known {
	QPC_HOST_UNKNOWN, /* no line names it */
	QPC_HOST_KNOWN,   /* the line's fingerprint is this one */
	QPC_HOST_CHANGED, /* the line has another one */
};

/* ~/.local/share/quicport/known_hosts */
int qpc_known_hosts_path(char *path, size_t cap, struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/*
 * Looks up. A missing file knows nobody. `recorded`: the fingerprint on file,
 * "" for an unknown host. Of several lines for a host the last one counts.
 */
int qpc_known_hosts_lookup(const char *path, const char *host, const char *fingerprint,
	enum qpc_known *out, char recorded[QP_FINGERPRINT_TEXT_BYTES], struct qp_errmsg *msg)
	__attribute__((warn_unused_result));

/*
 * Records, in place of what the file says of the host. The file is replaced as
 * a whole under a lock, so that concurrent clients lose nothing and a crash
 * leaves the old or the new one.
 */
int qpc_known_hosts_record(const char *path, const char *host, const char *fingerprint,
	struct qp_errmsg *msg) __attribute__((warn_unused_result));

#endif
