/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why the API did not answer, or said no, in one line that says what to do.
 * Whatever the other side said is made harmless first. Main thread.
 */
#include "admin/api_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/show.h"

#define DETAIL_BYTES 240u

static int
explain_socket(const struct qpa_api *api, long error, struct qp_errmsg *msg)
{
	if (error == EACCES || error == EPERM)
		return qp_fail(msg, QP_E_PERM,
			"this user may not open %s: call it as root, or as a user that "
			"--private-api-socket lets in", api->o->api);
	return qp_fail(msg, QP_E_CLOSED,
		"no gateway answers at %s: is `quicport control-plane --private-api-socket` running? "
		"(--api or QUICPORT_API names another address)", api->o->api);
}

static int
explain_no_connection(const struct qpa_api *api, const struct qpa_answer *a, struct qp_errmsg *msg)
{
	if (api->socket_path != NULL)
		return explain_socket(api, a->os_errno, msg);
	return qp_fail(msg, QP_E_CLOSED,
		"no gateway answers at %s: is `quicport control-plane` running there? (--api or "
		"QUICPORT_API names another address)", api->o->api);
}

int
qpa_explain_curl(const struct qpa_api *api, CURLcode code, const struct qpa_answer *a,
	struct qp_errmsg *msg)
{
	const char *where = api->o->api;

	if (a->too_long)
		return qp_fail(msg, QP_E_PROTO, "%s: an answer of more than %u MiB is not quicport's",
			where, QPA_ANSWER_BYTES >> 20);
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		return explain_no_connection(api, a, msg);
	case CURLE_COULDNT_RESOLVE_HOST:
		return qp_fail(msg, QP_E_NOTFOUND, "%s: no such host; check --api (QUICPORT_API)", where);
	case CURLE_OPERATION_TIMEDOUT:
		return qp_fail(msg, QP_E_TIMEOUT,
			"%s did not answer in time; --timeout waits longer than %u s", where,
			(unsigned)api->o->timeout_s);
	case CURLE_PEER_FAILED_VERIFICATION:
		return qp_fail(msg, QP_E_AUTH,
			"%s: nobody known has signed its certificate for this name; --cacert FILE "
			"(QUICPORT_API_CACERT) names the signer", where);
	case CURLE_SSL_CACERT_BADFILE:
		return qp_fail(msg, QP_E_INVAL, "--cacert %s: expected a readable file of PEM certificates",
			api->o->cacert != NULL ? api->o->cacert : "");
	case CURLE_SSL_CONNECT_ERROR:
		return qp_fail(msg, QP_E_PROTO, "%s does not speak TLS; is it http:// there?", where);
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		return qp_fail(msg, QP_E_CLOSED,
			"%s closed the connection; did the control plane just end, or is it https:// there?",
			where);
	case CURLE_OUT_OF_MEMORY:
	case CURLE_WRITE_ERROR:
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	default:
		return qp_fail(msg, QP_E_PROTO, "%s: %s", where, curl_easy_strerror(code));
	}
}

int
qpa_explain_not_ours(const struct qpa_api *api, const struct qpa_answer *a, struct qp_errmsg *msg)
{
	char type[64];

	qpa_printable(a->content_type != NULL ? a->content_type : "no type", type, sizeof(type));
	return qp_fail(msg, QP_E_PROTO,
		"%s is not a quicport gateway's private API: it answered %ld with %s; check --api "
		"(QUICPORT_API)", api->o->api, a->status, type);
}

static int
explain_no_token(const struct qpa_api *api, struct qp_errmsg *msg)
{
	if (api->o->token_file != NULL)
		return qp_fail(msg, QP_E_AUTH, "%s does not take the token in %s", api->o->api,
			api->o->token_file);
	return qp_fail(msg, QP_E_AUTH, "%s wants a token: give --token-file FILE (QUICPORT_API_TOKEN_FILE)",
		api->o->api);
}

/* What a problem document says, for people: "detail", or "detail: expected …". False: it is none. */
static bool
read_problem(const struct qpa_answer *a, char out[DETAIL_BYTES])
{
	json_t *problem = json_loadb(a->body != NULL ? a->body : "", a->len, 0, NULL);
	const char *detail = json_string_value(json_object_get(problem, "detail"));
	const char *title = json_string_value(json_object_get(problem, "title"));
	const char *expected = json_string_value(json_object_get(problem, "expected"));
	char text[DETAIL_BYTES * 2];
	bool is_one = detail != NULL || title != NULL;

	if (is_one) {
		snprintf(text, sizeof(text), "%s%s%s", detail != NULL ? detail : title,
			expected != NULL ? ": expected " : "", expected != NULL ? expected : "");
		qpa_printable(text, out, DETAIL_BYTES);
	}
	json_decref(problem);
	return is_one;
}

int
qpa_explain_status(const struct qpa_api *api, const struct qpa_answer *a, struct qp_errmsg *msg)
{
	char detail[DETAIL_BYTES];

	if (a->status == 401)
		return explain_no_token(api, msg);
	if (!read_problem(a, detail)) {
		if (a->status == 400 && strncmp(api->base, "http://", 7) == 0)
			return qp_fail(msg, QP_E_PROTO,
				"%s refuses the request; does it speak https:// there?", api->o->api);
		return qpa_explain_not_ours(api, a, msg);
	}
	return qp_fail(msg, a->status == 404 ? QP_E_NOTFOUND : QP_E_REFUSED, "%s", detail);
}
