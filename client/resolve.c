/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses, by the system's resolver. Blocks; called before the loop
 * runs.
 */
#include "client/resolve.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int
qpc_resolve(const struct qp_target *target, struct qpc_addrs *out, struct qp_errmsg *msg)
{
	/* One socket type, or each address would come once for each. No AI_ADDRCONFIG: ::1 needs no IPv6 address. */
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_family = AF_UNSPEC};
	const char *host = target->host[0] != '\0' ? target->host : "127.0.0.1";
	struct addrinfo *list;
	int rc = getaddrinfo(host, NULL, &hints, &list);

	if (rc != 0)
		return qp_fail(msg, QP_E_NOTFOUND, "cannot find the address of %s: %s", host,
			gai_strerror(rc));
	out->n = 0;
	for (struct addrinfo *ai = list; ai != NULL && out->n < QPC_MAX_ADDRS; ai = ai->ai_next) {
		struct qp_sockaddr *a = &out->v[out->n];

		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		memset(a, 0, sizeof(*a));
		memcpy(&a->ss, ai->ai_addr, ai->ai_addrlen);
		a->len = ai->ai_addrlen;
		qp_sockaddr_set_port(&a->sa, target->port);
		out->n++;
	}
	freeaddrinfo(list);
	if (out->n == 0)
		return qp_fail(msg, QP_E_NOTFOUND, "%s has neither an IPv4 nor an IPv6 address", host);
	return QP_OK;
}
