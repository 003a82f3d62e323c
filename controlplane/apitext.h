/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_APITEXT_H
#define QP_CONTROLPLANE_APITEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "controlplane/msg.h"

/* How the API writes ids, addresses and times. Pure; the formatters return `out`. */

/* "0x3039" */
const char *qp_dp_id_format(uint32_t server_id, char out[16]);

/* "3039-0-1f". There is one way to write a tunnel's id: others are not parsed. */
#define QP_TUNNEL_ID_BYTES 40u
const char *qp_tunnel_id_format(const struct qp_origin *o, char out[QP_TUNNEL_ID_BYTES]);
bool qp_tunnel_id_parse(const char *text, struct qp_origin *out);

/* "198.51.100.0/24", "2001:db8::/32"; v4-mapped prints as IPv4. */
#define QP_NETWORK_BYTES 64u
const char *qp_network_format(const struct qp_msg_network *n, char out[QP_NETWORK_BYTES]);
bool qp_network_contains(const struct qp_msg_network *n, const uint8_t addr[16]);

/* RFC 3339 in UTC, whole seconds: "2027-01-01T00:00:00Z". */
#define QP_TIME_BYTES 32u
const char *qp_time_format(uint64_t unix_s, char out[QP_TIME_BYTES]);

#endif
