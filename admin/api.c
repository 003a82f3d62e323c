/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private API's client, on libcurl: bounded in time and bytes, no redirects,
 * no proxy, and no token over a line that others can read. Main thread.
 */
#include "admin/api_impl.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "common/text.h"

#define TOKEN_MAX_BYTES 4096u
#define CALL_PREFIX "/api/v1/admin/"

struct qpa_call {
	struct qpa_api *api;
	CURL *curl;
	char *request;
	char *body;
	size_t len, cap;
	bool too_long;
};

/* Where the API is. */

static bool
host_is_this_one(const char *base)
{
	CURLU *url = curl_url();
	char *host = NULL;
	bool local = false;

	if (url != NULL && curl_url_set(url, CURLUPART_URL, base, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		local = strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0 ||
			strcmp(host, "localhost") == 0;
	curl_free(host);
	curl_url_cleanup(url);
	return local;
}

static bool
is_base_url(const char *text)
{
	CURLU *url = curl_url();
	char *part = NULL;
	bool good;

	good = url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
	       curl_url_get(url, CURLUPART_QUERY, &part, 0) == CURLUE_NO_QUERY &&
	       curl_url_get(url, CURLUPART_USER, &part, 0) == CURLUE_NO_USER;
	curl_free(part);
	curl_url_cleanup(url);
	return good;
}

static int
take_address(struct qpa_api *api, const char *text, struct qp_errmsg *msg)
{
	size_t len = strlen(text);

	if (strncmp(text, "unix:", 5) == 0 && len > 5) {
		api->socket_path = text + 5;
		snprintf(api->base, sizeof(api->base), "http://localhost");
		return QP_OK;
	}
	while (len > 0 && text[len - 1] == '/')
		len--;
	if ((strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0) ||
		len >= sizeof(api->base) || !is_base_url(text))
		return qp_fail(msg, QP_E_INVAL,
			"--api (QUICPORT_API) is '%.200s': expected http://HOST:PORT, https://HOST:PORT or "
			"unix:PATH", text);
	snprintf(api->base, sizeof(api->base), "%.*s", (int)len, text);
	return QP_OK;
}

/* The token. */

static bool
token_is_sane(struct qp_slice token)
{
	for (size_t i = 0; i < token.len; i++) {
		if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f)
			return false;
	}
	return token.len > 0;
}

bool
qpa_add_header(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer != NULL)
		*list = longer;
	return longer != NULL;
}

static int
add_token(struct qpa_api *api, struct qp_slice token, struct qp_errmsg *msg)
{
	char line[TOKEN_MAX_BYTES + 32];
	bool added;

	if (!token_is_sane(token))
		return qp_fail(msg, QP_E_INVAL,
			"%s has no token: expected one line of printable characters without blanks",
			api->o->token_file);
	snprintf(line, sizeof(line), "Authorization: Bearer %.*s", (int)token.len, token.ptr);
	added = qpa_add_header(&api->headers, line) && qpa_add_header(&api->stream_headers, line);
	sodium_memzero(line, sizeof(line));
	return added ? QP_OK : qp_fail(msg, QP_E_NOMEM, "out of memory");
}

static int
take_token(struct qpa_api *api, struct qp_errmsg *msg)
{
	mode_t mode = 0;
	char *text;
	size_t len;
	int err;

	if (api->o->token_file == NULL)
		return QP_OK;
	if (api->socket_path == NULL && strncmp(api->base, "http://", 7) == 0 &&
		!host_is_this_one(api->base))
		return qp_fail(msg, QP_E_INVAL,
			"a token for %.200s could be read on the way: use https://, or an SSH tunnel to "
			"the gateway's loopback address", api->base);
	err = qp_file_read(api->o->token_file, TOKEN_MAX_BYTES, &text, &len, &mode, msg);
	if (err != QP_OK)
		return err;
	if (qp_file_mode_is_lax(mode))
		fprintf(stderr, "quicport admin: others can read the token in %s: chmod 600 it\n",
			api->o->token_file);
	err = add_token(api, qp_slice_trim((struct qp_slice) {text, len}), msg);
	qp_file_free(text);
	return err;
}

int
qpa_api_open(const struct qpa_options *o, struct qpa_api **out, struct qp_errmsg *msg)
{
	struct qpa_api *api = calloc(1, sizeof(*api));
	int err;

	*out = NULL;
	if (api == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(api);
		return qp_fail(msg, QP_E_NOMEM, "libcurl does not start: out of memory?");
	}
	api->o = o;
	err = take_address(api, o->api, msg);
	/* No "Expect: 100-continue" round trip. */
	if (err == QP_OK && !(qpa_add_header(&api->headers, "Content-Type: application/json") &&
				    qpa_add_header(&api->headers, "Expect:") &&
				    qpa_add_header(&api->stream_headers, "Accept: text/event-stream")))
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	if (err == QP_OK)
		err = take_token(api, msg);
	if (err == QP_OK)
		*out = api;
	else
		qpa_api_close(api);
	return err;
}

void
qpa_free_headers(struct curl_slist *list)
{
	for (struct curl_slist *h = list; h != NULL; h = h->next)
		sodium_memzero(h->data, strlen(h->data));
	curl_slist_free_all(list);
}

void
qpa_api_close(struct qpa_api *api)
{
	if (api == NULL)
		return;
	qpa_free_headers(api->headers);
	qpa_free_headers(api->stream_headers);
	free(api);
	curl_global_cleanup();
}

/* A request. */

CURL *
qpa_new_handle(struct qpa_api *api, const char *path)
{
	CURL *curl = curl_easy_init();
	char url[768];

	if (curl == NULL)
		return NULL;
	snprintf(url, sizeof(url), "%s%s", api->base, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* the API is private: no detour */
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "quicport-admin/" QP_VERSION);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)api->o->timeout_s);
	if (api->socket_path != NULL)
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, api->socket_path);
	if (api->o->cacert != NULL) {
		curl_easy_setopt(curl, CURLOPT_CAINFO, api->o->cacert);
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	return curl;
}

static bool
make_room(struct qpa_call *c, size_t more)
{
	size_t cap = c->cap != 0 ? c->cap : 16384;
	char *bigger;

	while (cap < c->len + more + 1)
		cap *= 2;
	if (cap == c->cap)
		return true;
	bigger = realloc(c->body, cap);
	if (bigger == NULL)
		return false;
	c->body = bigger;
	c->cap = cap;
	return true;
}

static size_t
take_body(char *bytes, size_t one, size_t n, void *ctx)
{
	struct qpa_call *c = ctx;
	size_t len = one * n;

	c->too_long = len > QPA_ANSWER_BYTES - c->len;
	if (c->too_long || !make_room(c, len))
		return 0;
	memcpy(c->body + c->len, bytes, len);
	c->len += len;
	return len;
}

static void
call_free(struct qpa_call *c)
{
	if (c == NULL)
		return;
	curl_easy_cleanup(c->curl);
	free(c->request);
	free(c->body);
	free(c);
}

struct qpa_call *
qpa_call_begin(struct qpa_api *api, const char *name, const json_t *args)
{
	struct qpa_call *c = calloc(1, sizeof(*c));
	char path[128];

	if (c == NULL)
		return NULL;
	snprintf(path, sizeof(path), CALL_PREFIX "%s", name);
	c->api = api;
	c->curl = qpa_new_handle(api, path);
	c->request = args != NULL ? json_dumps(args, JSON_COMPACT) : strdup("{}");
	if (c->curl == NULL || c->request == NULL) {
		call_free(c);
		return NULL;
	}
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, (long)api->o->timeout_s);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, api->headers);
	curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, c->request);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
	return c;
}

CURL *
qpa_call_handle(struct qpa_call *c)
{
	return c->curl;
}

void
qpa_look_at(CURL *curl, struct qpa_answer *a)
{
	char *type = NULL;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &a->status);
	curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &a->os_errno);
	a->content_type = type;
}

int
qpa_call_end(struct qpa_call *c, CURLcode code, json_t **answer, struct qp_errmsg *msg)
{
	struct qpa_answer a = {.body = c->body, .len = c->len, .too_long = c->too_long};
	int err = QP_OK;

	*answer = NULL;
	qpa_look_at(c->curl, &a);
	if (code != CURLE_OK)
		err = qpa_explain_curl(c->api, code, &a, msg);
	else if (a.status != 200)
		err = qpa_explain_status(c->api, &a, msg);
	else
		*answer = json_loadb(c->body != NULL ? c->body : "", c->len, JSON_REJECT_DUPLICATES, NULL);
	if (err == QP_OK && !json_is_object(*answer)) {
		json_decref(*answer);
		*answer = NULL;
		err = qpa_explain_not_ours(c->api, &a, msg);
	}
	call_free(c);
	return err;
}

int
qpa_api_call(struct qpa_api *api, const char *name, const json_t *args, json_t **answer,
	struct qp_errmsg *msg)
{
	struct qpa_call *c = qpa_call_begin(api, name, args);

	*answer = NULL;
	if (c == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	return qpa_call_end(c, curl_easy_perform(c->curl), answer, msg);
}
