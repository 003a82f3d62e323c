/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/apitext.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *
qp_dp_id_format(uint32_t server_id, char out[16])
{
	snprintf(out, 16, "0x%04x", server_id);
	return out;
}

const char *
qp_tunnel_id_format(const struct qp_origin *o, char out[QP_TUNNEL_ID_BYTES])
{
	snprintf(out, QP_TUNNEL_ID_BYTES, "%04" PRIx32 "-%u-%" PRIx64, o->server_id,
		(unsigned)o->worker, o->id);
	return out;
}

bool
qp_tunnel_id_parse(const char *text, struct qp_origin *out)
{
	char again[QP_TUNNEL_ID_BYTES];
	unsigned server_id, worker;
	uint64_t id;

	if (sscanf(text, "%4x-%2u-%16" SCNx64, &server_id, &worker, &id) != 3)
		return false;
	*out = (struct qp_origin) {.server_id = server_id, .worker = (uint16_t)worker, .id = id};
	return strcmp(qp_tunnel_id_format(out, again), text) == 0;
}

const char *
qp_network_format(const struct qp_msg_network *n, char out[QP_NETWORK_BYTES])
{
	char addr[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	bool v4;

	memcpy(&v6, n->addr, sizeof(v6));
	v4 = n->prefix >= 96 && IN6_IS_ADDR_V4MAPPED(&v6);
	if (v4)
		inet_ntop(AF_INET, n->addr + 12, addr, sizeof(addr));
	else
		inet_ntop(AF_INET6, n->addr, addr, sizeof(addr));
	snprintf(out, QP_NETWORK_BYTES, "%s/%u", addr, n->prefix - (v4 ? 96u : 0u));
	return out;
}

bool
qp_network_contains(const struct qp_msg_network *n, const uint8_t addr[16])
{
	unsigned whole = n->prefix / 8, rest = n->prefix % 8;
	uint8_t mask = (uint8_t)(0xff00u >> rest);

	return memcmp(n->addr, addr, whole) == 0 &&
	       (rest == 0 || ((n->addr[whole] ^ addr[whole]) & mask) == 0);
}

const char *
qp_time_format(uint64_t unix_s, char out[QP_TIME_BYTES])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL ||
		strftime(out, QP_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, QP_TIME_BYTES, "1970-01-01T00:00:00Z");
	return out;
}
