/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access to the private API. A browser on the operator's machine is the one
 * stranger that reaches loopback: it is told by the Host header (a name that
 * was rebound to 127.0.0.1) and by Origin and Sec-Fetch-Site (a page of another
 * site). Loop thread.
 */
#define QP_LOG_MODULE QP_LOG_M_http
#include "controlplane/access.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/file.h"
#include "common/log.h"
#include "common/text.h"
#include "controlplane/problem.h"

#define TOKEN_BYTES 1024u
#define GROUPS 256

int
qp_access_load(struct qp_access *a, struct qp_errmsg *msg)
{
	struct qp_secret *token;
	struct qp_slice text;
	char *data = NULL;
	size_t len;
	mode_t mode;
	int err;

	if (a->token_file == NULL)
		return 0;
	err = qp_file_read(a->token_file, TOKEN_BYTES, &data, &len, &mode, msg);
	if (err != 0)
		return err;
	text = qp_slice_trim((struct qp_slice) {data, len});
	token = NULL;
	if (qp_file_mode_is_lax(mode & ~(mode_t)0040))
		err = qp_fail(msg, QP_E_PERM,
			"--private-api-token-file %s: others can use it: chmod 600 (or 640) %s",
			a->token_file, a->token_file);
	else if (text.len < QP_ACCESS_TOKEN_MIN || memchr(text.ptr, '\n', text.len) != NULL)
		err = qp_fail(msg, QP_E_INVAL,
			"--private-api-token-file %s: one line of %u characters or more is "
			"expected (openssl rand -hex 32 makes one)",
			a->token_file, QP_ACCESS_TOKEN_MIN);
	else if ((token = qp_secret_new(text.ptr, text.len)) == NULL)
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	qp_file_free(data);
	if (err != 0)
		return err;
	qp_secret_free(a->token);
	a->token = token;
	return 0;
}

void
qp_access_clear(struct qp_access *a)
{
	qp_secret_free(a->token);
	a->token = NULL;
}

/* In constant time whatever the length: hashes are compared. */
static bool
is_token(const struct qp_secret *token, const char *given)
{
	unsigned char key[crypto_generichash_KEYBYTES], want[32], got[32];

	randombytes_buf(key, sizeof(key));
	crypto_generichash(want, sizeof(want), token->bytes, token->len, key, sizeof(key));
	crypto_generichash(
		got, sizeof(got), (const unsigned char *)given, strlen(given), key, sizeof(key));
	return sodium_memcmp(want, got, sizeof(want)) == 0;
}

static bool
has_token(const struct qp_access *a, const struct qp_http_request *req)
{
	static const char scheme[] = "Bearer ";
	const char *given = qp_http_header(req, "Authorization");

	return given != NULL && strncasecmp(given, scheme, sizeof(scheme) - 1) == 0 &&
	       is_token(a->token, given + sizeof(scheme) - 1);
}

/* "localhost", "127.0.0.1", "[::1]", each with any port: a tunnel may change it. */
static bool
names_loopback(const char *host)
{
	char name[64];
	const char *end = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');
	size_t len = end != NULL ? (size_t)(end - host) : strlen(host);
	struct in6_addr v6;
	struct in_addr v4;

	if (host[0] == '[') {
		host++;
		len--;
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
	}
	if (len == 0 || len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	if (inet_pton(AF_INET, name, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, name, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6) ||
		       (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
	return strcasecmp(name, "localhost") == 0 || strcasecmp(name, "localhost.") == 0;
}

static bool
is_same_origin(const struct qp_access *a, const struct qp_http_request *req, const char *origin)
{
	const char *scheme = a->tls && !req->unix_socket ? "https://" : "http://";
	const char *host = qp_http_header(req, "Host");

	return host != NULL && strncmp(origin, scheme, strlen(scheme)) == 0 &&
	       strcasecmp(origin + strlen(scheme), host) == 0;
}

/* Of a browser, by what it says of itself; other programs say nothing. */
static bool
check_browser(
	const struct qp_access *a, const struct qp_http_request *req, struct qp_http_response *out)
{
	const char *host = qp_http_header(req, "Host");
	const char *origin = qp_http_header(req, "Origin");
	const char *site = qp_http_header(req, "Sec-Fetch-Site");
	const char *mode = qp_http_header(req, "Sec-Fetch-Mode");
	bool navigates = mode != NULL && strcmp(mode, "navigate") == 0 &&
			 strcmp(req->method, "GET") == 0;

	if (a->loopback && !req->unix_socket && host != NULL && !names_loopback(host))
		qp_problem(out, 403,
			"the Host header is \"%s\": this address is asked for as 127.0.0.1, [::1] "
			"or localhost",
			host);
	else if (origin != NULL && !is_same_origin(a, req, origin))
		qp_problem(out, 403, "the request comes from a page of \"%s\"", origin);
	else if (site != NULL && !navigates && strcmp(site, "same-origin") != 0 &&
		 strcmp(site, "none") != 0)
		qp_problem(out, 403, "the request comes from a page of another site");
	else
		return true;
	return false;
}

static bool
is_in_group(int fd, gid_t group)
{
	gid_t list[GROUPS];
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.gid == group)
		return true;
	len = sizeof(list);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &len) != 0)
		return false;
	for (size_t i = 0; i < len / sizeof(list[0]); i++) {
		if (list[i] == group)
			return true;
	}
	return false;
}

/* The kernel has asked the file's mode already; asked again, a lost mode opens nothing. */
static bool
check_peer(const struct qp_access *a, const struct qp_http_request *req)
{
	struct stat st;

	if (req->uid == 0 || req->uid == geteuid())
		return true;
	if (a->socket_path == NULL || stat(a->socket_path, &st) != 0)
		return false;
	return (st.st_mode & S_IWOTH) != 0 ||
	       ((st.st_mode & S_IWGRP) != 0 && is_in_group(req->fd, st.st_gid));
}

static void
name_peer(const struct qp_http_request *req, char actor[QP_ACTOR_BYTES])
{
	char text[QP_ADDR_TEXT_BYTES] = "?";
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (req->fd >= 0 && getpeername(req->fd, (struct sockaddr *)&ss, &len) == 0)
		qp_sockaddr_format((struct sockaddr *)&ss, text);
	snprintf(actor, QP_ACTOR_BYTES, "api %s", text);
}

bool
qp_access_check(const struct qp_access *a, const struct qp_http_request *req, bool open,
	char actor[QP_ACTOR_BYTES], struct qp_http_response *out)
{
	if (!check_browser(a, req, out))
		return false;
	if (req->unix_socket) {
		snprintf(actor, QP_ACTOR_BYTES, "api uid %u", (unsigned)req->uid);
		if (check_peer(a, req))
			return true;
		qp_problem(out, 403, "user %u may not use this socket", (unsigned)req->uid);
		return false;
	}
	name_peer(req, actor);
	if (open || a->token == NULL || has_token(a, req))
		return true;
	if (qp_http_header(req, "Authorization") != NULL)
		qp_log(QP_LOG_WARN, "private API: wrong token", QP_LOG_STR("path", req->path));
	qp_problem(out, 401, "a bearer token is needed: Authorization: Bearer TOKEN");
	qp_http_add_header(out, "WWW-Authenticate", "Bearer realm=\"quicport\"");
	return false;
}
