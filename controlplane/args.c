/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of a request. Values of a peer are repeated only as JSON text. */
#include "controlplane/args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "controlplane/apitext.h"
#include "controlplane/policy.h"
#include "controlplane/problem.h"

bool
qp_args_open(struct qp_args *a, const struct qp_http_request *req, struct qp_http_response *out)
{
	json_error_t err;

	*a = (struct qp_args) {.out = out};
	if (!qp_utf8_valid(req->body, req->body_len)) {
		qp_problem(out, 400, "the body is not UTF-8");
		return false;
	}
	a->object = json_loadb(req->body, req->body_len, JSON_REJECT_DUPLICATES, &err);
	if (json_is_object(a->object))
		return true;
	if (a->object != NULL)
		qp_problem(out, 400, "the body is not a JSON object");
	else
		qp_problem(out, 400, "the body is not a JSON object: line %d, column %d: %s",
			err.line, err.column, err.text);
	json_decref(a->object);
	a->object = NULL;
	return false;
}

void
qp_args_close(struct qp_args *a)
{
	json_decref(a->object);
	a->object = NULL;
}

/* What was given instead, short enough for a line. */
static const char *
shown(const json_t *value, char out[100])
{
	char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	if (text == NULL)
		snprintf(out, 100, "%s", value == NULL ? "missing" : "not understood");
	else
		qp_slice_printable(qp_slice_of(text), out, 100);
	free(text);
	return out;
}

/* A secret is not repeated to who may not have sent it. */
static bool
is_secret(const char *name)
{
	return strcmp(name, "psk") == 0;
}

void
qp_args_fail_value(struct qp_args *a, const char *field, const json_t *value, const char *expected)
{
	char text[100];

	if (a->failed)
		return;
	a->failed = true;
	if (is_secret(field) && value != NULL)
		qp_problem_field(a->out, field, expected, "%s is wrong", field);
	else
		qp_problem_field(a->out, field, expected, "%s is %s", field, shown(value, text));
}

void
qp_args_fail(struct qp_args *a, const char *field, const char *expected)
{
	qp_args_fail_value(a, field, json_object_get(a->object, field), expected);
}

static const json_t *
take(struct qp_args *a, const char *name)
{
	for (unsigned i = 0; i < a->nknown; i++) {
		if (strcmp(a->known[i], name) == 0)
			return json_object_get(a->object, name);
	}
	if (a->nknown < sizeof(a->known) / sizeof(a->known[0]))
		a->known[a->nknown++] = name;
	return json_object_get(a->object, name);
}

bool
qp_args_ok(struct qp_args *a)
{
	const char *key;
	json_t *value;

	json_object_foreach(a->object, key, value)
	{
		bool known = false;

		for (unsigned i = 0; i < a->nknown && !known; i++)
			known = strcmp(a->known[i], key) == 0;
		if (!known && !a->failed) {
			a->failed = true;
			qp_problem_field(a->out, key, "a field of this request",
				"the request has a field that is unknown");
		}
	}
	return !a->failed;
}

bool
qp_args_given(const struct qp_args *a, const char *name)
{
	return json_object_get(a->object, name) != NULL;
}

void
qp_args_need(struct qp_args *a, const char *name, const char *expected)
{
	if (take(a, name) == NULL)
		qp_args_fail(a, name, expected);
}

const char *
qp_args_text(struct qp_args *a, const char *name, size_t min, size_t max)
{
	const json_t *value = take(a, name);
	char expected[64];

	if (value == NULL)
		return NULL;
	if (json_is_string(value) && json_string_length(value) >= min &&
		json_string_length(value) <= max)
		return json_string_value(value);
	snprintf(expected, sizeof(expected), "a string of %zu to %zu bytes", min, max);
	qp_args_fail(a, name, expected);
	return NULL;
}

uint64_t
qp_args_number(struct qp_args *a, const char *name, uint64_t min, uint64_t max, uint64_t otherwise)
{
	const json_t *value = take(a, name);
	char expected[96];
	json_int_t n;

	if (value == NULL)
		return otherwise;
	n = json_integer_value(value);
	if (json_is_integer(value) && n >= 0 && (uint64_t)n >= min && (uint64_t)n <= max)
		return (uint64_t)n;
	snprintf(expected, sizeof(expected), "a whole number from %" PRIu64 " to %" PRIu64, min,
		max);
	qp_args_fail(a, name, expected);
	return otherwise;
}

const json_t *
qp_args_array(struct qp_args *a, const char *name, size_t max)
{
	const json_t *value = take(a, name);
	char expected[64];

	if (value == NULL || (json_is_array(value) && json_array_size(value) <= max))
		return value;
	snprintf(expected, sizeof(expected), "an array of %zu entries at most", max);
	qp_args_fail(a, name, expected);
	return NULL;
}

uint32_t
qp_args_dp_id(struct qp_args *a, bool needed)
{
	static const char expected[] = "a data plane's id, such as \"0x3039\"";
	const char *text = json_string_value(take(a, "dp_id"));
	size_t len;

	if (!qp_args_given(a, "dp_id")) {
		if (needed)
			qp_args_fail(a, "dp_id", expected);
		return 0;
	}
	if (text != NULL && text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	len = text != NULL ? strlen(text) : 0;
	if (len == 0 || len > 4 || strspn(text, "0123456789abcdefABCDEF") != len) {
		qp_args_fail(a, "dp_id", expected);
		return 0;
	}
	/* 0 names none, and is found by nobody; told apart from "not given". */
	len = strtoul(text, NULL, 16);
	return len != 0 ? (uint32_t)len : UINT32_MAX;
}

bool
qp_args_tunnel_id(struct qp_args *a, bool needed, struct qp_origin *out)
{
	static const char expected[] = "a tunnel's id, such as \"3039-0-1f\"";
	const char *text = json_string_value(take(a, "tunnel_id"));

	if (!qp_args_given(a, "tunnel_id")) {
		if (needed)
			qp_args_fail(a, "tunnel_id", expected);
		return false;
	}
	if (text != NULL && qp_tunnel_id_parse(text, out))
		return true;
	qp_args_fail(a, "tunnel_id", expected);
	return false;
}

bool
qp_args_network(struct qp_args *a, const char *name, bool needed, struct qp_msg_network *out)
{
	static const char expected[] = "an address, or a network such as \"198.51.100.0/24\"";
	const json_t *value = take(a, name);
	const char *text = json_string_value(value);

	if (value == NULL) {
		if (needed)
			qp_args_fail(a, name, expected);
		return false;
	}
	if (text != NULL && strlen(text) <= 64 && qp_network_parse(text, out, NULL) == 0)
		return true;
	qp_args_fail(a, name, expected);
	return false;
}

uint8_t
qp_args_protocol(struct qp_args *a)
{
	const json_t *value = take(a, "protocol");
	const char *text = json_string_value(value);

	if (text != NULL && strcmp(text, "tcp") == 0)
		return 1;
	if (text != NULL && strcmp(text, "udp") == 0)
		return 2;
	if (value != NULL)
		qp_args_fail(a, "protocol", "\"tcp\" or \"udp\"");
	return 0;
}

const char *
qp_args_client_name(struct qp_args *a, const char *name, bool needed)
{
	static const char expected[] =
		"a name of 1 to 63 letters, digits, \".\", \"_\", \"-\", \"@\"";
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-@";
	const json_t *value = take(a, name);
	const char *text = json_string_value(value);

	if (value == NULL) {
		if (needed)
			qp_args_fail(a, name, expected);
		return NULL;
	}
	if (text != NULL && text[0] != '\0' && strlen(text) <= 63 &&
		text[strspn(text, letters)] == '\0')
		return text;
	qp_args_fail(a, name, expected);
	return NULL;
}

void
qp_args_page(struct qp_args *a, struct qp_page *out)
{
	out->limit = (unsigned)qp_args_number(a, "limit", 1, QP_PAGE_MAX, QP_PAGE_DEFAULT);
	out->cursor = qp_args_text(a, "cursor", 1, 256);
}

void
qp_args_bad_cursor(struct qp_args *a)
{
	qp_args_fail(a, "cursor", "next_cursor of an answer to this request");
}
