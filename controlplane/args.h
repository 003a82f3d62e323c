/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_ARGS_H
#define QP_CONTROLPLANE_ARGS_H

#include <jansson.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/ipc.h"
#include "controlplane/http.h"
#include "controlplane/msg.h"

/*
 * The fields of a request's JSON object. A handler asks for each that it knows,
 * then whether all was well (qp_args_ok): the first mistake is the answer, and
 * so is a field that nobody asked for. Owner: the handler, on its stack.
 */
struct qp_args {
	json_t *object; /* borrowed by what the getters return */
	struct qp_http_response *out;
	bool failed;
	unsigned nknown;
	const char *known[32];
};

/* Checks the body: UTF-8, JSON, an object, no key twice, no NUL. False: answered. */
bool qp_args_open(
	struct qp_args *a, const struct qp_http_request *req, struct qp_http_response *out);
void qp_args_close(struct qp_args *a);
/* After all getters. False: answered. */
bool qp_args_ok(struct qp_args *a);
/* One more mistake, found by the handler itself. */
void qp_args_fail(struct qp_args *a, const char *field, const char *expected);
/* The same of a part of a field, which is `value` (NULL: missing). */
void qp_args_fail_value(
	struct qp_args *a, const char *field, const json_t *value, const char *expected);

/* NULL: not given (or wrong, which qp_args_ok tells). max: bytes. */
const char *qp_args_text(struct qp_args *a, const char *name, size_t min, size_t max);
/* `otherwise` when not given. */
uint64_t qp_args_number(
	struct qp_args *a, const char *name, uint64_t min, uint64_t max, uint64_t otherwise);
/* NULL: not given. */
const json_t *qp_args_array(struct qp_args *a, const char *name, size_t max);
/* Fails unless it is there. */
void qp_args_need(struct qp_args *a, const char *name, const char *expected);
bool qp_args_given(const struct qp_args *a, const char *name);

/* "0x3039"; 0: not given. */
uint32_t qp_args_dp_id(struct qp_args *a, bool needed);
/* "3039-0-1f". False: not given. */
bool qp_args_tunnel_id(struct qp_args *a, bool needed, struct qp_origin *out);
/* An address or a network. False: not given. */
bool qp_args_network(struct qp_args *a, const char *name, bool needed, struct qp_msg_network *out);
/* 1 TCP, 2 UDP; 0: not given. */
uint8_t qp_args_protocol(struct qp_args *a);
/* A client's or a group's name. NULL: not given. */
const char *qp_args_client_name(struct qp_args *a, const char *name, bool needed);

/* Of lists. */
#define QP_PAGE_DEFAULT 100u
#define QP_PAGE_MAX 1000u

struct qp_page {
	unsigned limit;
	const char *cursor; /* NULL: from the first row; what it means is the list's */
};

void qp_args_page(struct qp_args *a, struct qp_page *out);
void qp_args_bad_cursor(struct qp_args *a);

#endif
