/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/event_types.h"

#include <string.h>

#include "controlplane/events.h"
#include "controlplane/problem.h"

#define OTHER_BIT (1u << 31)

/* The first is QP_EVENT_STATS_BIT. */
static const char *const types[] = {QP_EVENT_STATS, QP_EVENT_TUNNEL_OPENED, QP_EVENT_TUNNEL_CLOSED,
	QP_EVENT_PORT_OPENED, QP_EVENT_PORT_CLOSED, QP_EVENT_AUTH_FAILED, QP_EVENT_DATA_PLANE,
	QP_EVENT_PORT_OWNER, QP_EVENT_CONFIG, QP_EVENT_POLICY};

#define NTYPES (sizeof(types) / sizeof(types[0]))

static uint32_t
bit_of(const char *type, size_t len)
{
	for (unsigned i = 0; i < NTYPES; i++) {
		if (strlen(types[i]) == len && memcmp(types[i], type, len) == 0)
			return 1u << i;
	}
	return 0;
}

uint32_t
qp_event_type_bit(const char *type)
{
	uint32_t bit = bit_of(type, strlen(type));

	return bit != 0 ? bit : OTHER_BIT;
}

bool
qp_event_types_of_query(
	const struct qp_http_request *req, uint32_t *out_types, struct qp_http_response *out)
{
	*out_types = req->nqueries == 0 ? UINT32_MAX : 0;
	if (req->nqueries > 1 || (req->nqueries == 1 && strcmp(req->query[0].name, "types") != 0)) {
		qp_problem_field(out, req->query[req->nqueries - 1].name, "types=TYPE,TYPE…, once",
			"the path does not take this parameter");
		return false;
	}
	if (req->nqueries == 0)
		return true;
	for (const char *at = req->query[0].value;; at++) {
		size_t len = strcspn(at, ",");
		uint32_t bit = bit_of(at, len);

		if (bit == 0) {
			qp_problem_field(out, "types",
				"stats, tunnel_opened, tunnel_closed, port_opened, port_closed, "
				"auth_failed, data_plane, port_owner, config, policy; with commas "
				"between",
				"there is no event \"%.*s\"", (int)(len < 64 ? len : 64), at);
			return false;
		}
		*out_types |= bit;
		at += len;
		if (*at == '\0')
			return true;
	}
}
