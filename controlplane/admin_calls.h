/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ADMIN_CALLS_H
#define QP_CONTROLPLANE_ADMIN_CALLS_H

#include "controlplane/admin.h"
#include "controlplane/apitext.h"
#include "controlplane/args.h"
#include "controlplane/policy.h"
#include "controlplane/problem.h"

/*
 * What admin.c (which path does what) and the admin_*.c (a topic each) share. A
 * handler fills `out`, or defers with qp_http_defer(c->req).
 */
struct qp_admin_call {
	struct qp_admin *admin;
	const struct qp_http_request *req;
	struct qp_args *args; /* gone when the handler returns */
	struct qp_http_response *out;
	const char *actor; /* who asks; gone when the handler returns */
};

void qp_admin_list_data_planes(struct qp_admin_call *c);
void qp_admin_list_nics(struct qp_admin_call *c);
void qp_admin_get_data_plane_status(struct qp_admin_call *c);
void qp_admin_drain_data_plane(struct qp_admin_call *c);
void qp_admin_shutdown_data_plane(struct qp_admin_call *c);
void qp_admin_replace_port_owner(struct qp_admin_call *c);
void qp_admin_list_tunnels(struct qp_admin_call *c);
void qp_admin_kick_tunnel(struct qp_admin_call *c);
void qp_admin_list_connections(struct qp_admin_call *c);
void qp_admin_get_connections(struct qp_admin_call *c);
void qp_admin_kick_connection(struct qp_admin_call *c);
void qp_admin_list_clients(struct qp_admin_call *c);
void qp_admin_get_client(struct qp_admin_call *c);
void qp_admin_put_client(struct qp_admin_call *c);
void qp_admin_delete_client(struct qp_admin_call *c);
void qp_admin_list_ports(struct qp_admin_call *c);
void qp_admin_block_source(struct qp_admin_call *c);
void qp_admin_unblock_source(struct qp_admin_call *c);
void qp_admin_list_blocked_sources(struct qp_admin_call *c);
void qp_admin_get_config(struct qp_admin_call *c);
void qp_admin_reload_config(struct qp_admin_call *c);
void qp_admin_get_log_levels(struct qp_admin_call *c);
void qp_admin_set_log_level(struct qp_admin_call *c);

/* Answers with 200; consumes `body`, which may be NULL (out of memory). */
void qp_admin_reply(struct qp_http_response *out, json_t *body);
/* {KEY: rows, "next_cursor": cursor}; consumes `rows`; `cursor` NULL: these were the last. */
void qp_admin_reply_rows(
	struct qp_http_response *out, const char *key, json_t *rows, const char *cursor);
/* The audit row of a change; consumes `args` (no secrets in it; NULL is allowed). */
void qp_admin_audit(const struct qp_admin_call *c, const char *action, json_t *args);

/* 400, with the file and line that `why` names. */
void qp_admin_refuse_config(struct qp_http_response *out, const char *why);

/* A data plane's row, as ListDataPlanes and the stats event have it. */
json_t *qp_admin_data_plane_row(const struct qp_generation *g);
json_t *qp_admin_client_row(const struct qp_admin *a, const struct qp_policy_client *client);
json_t *qp_admin_tunnel_row(const struct qp_tunnel *t);
/* IPPROTO_TCP, IPPROTO_UDP: "tcp", "udp". */
const char *qp_admin_protocol(uint8_t ipproto);
json_t *qp_admin_block_row(const struct qp_block *b);
/* False: sources cannot be kept out here, and that is answered. */
bool qp_admin_can_block(struct qp_admin_call *c);
/* Blocks, tells and records it. False: answered with what went wrong. */
bool qp_admin_block(struct qp_admin_call *c, const struct qp_msg_network *n, uint64_t seconds,
	const char *reason, json_t **row);

#endif
