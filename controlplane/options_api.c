/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the private API that only make sense together. */
#include <stdlib.h>
#include <string.h>

#include "controlplane/options.h"

static int
parse_mode(const char *text, uint32_t *out, struct qp_errmsg *msg)
{
	size_t len = strlen(text);

	if (len == 0 || len > 4 || strspn(text, "01234567") != len || strtoul(text, NULL, 8) > 0777)
		return qp_fail(msg, QP_E_INVAL,
			"--private-api-socket-mode %s: an octal mode from 0 to 0777 is expected, "
			"such as 0660",
			text);
	*out = (uint32_t)strtoul(text, NULL, 8);
	return 0;
}

int
qp_options_check_api(struct qp_options *o, struct qp_errmsg *msg)
{
	struct qp_api_options *api = &o->api;
	char addr[QP_ADDR_TEXT_BYTES];

	if ((api->tls_cert == NULL) != (api->tls_key == NULL))
		return qp_fail(msg, QP_E_INVAL, "%s needs %s: give both",
			api->tls_cert != NULL ? "--private-api-tls-cert" : "--private-api-tls-key",
			api->tls_cert != NULL ? "--private-api-tls-key" : "--private-api-tls-cert");
	if (!qp_sockaddr_is_loopback(&o->private_api_listen.sa) &&
		(api->token_file == NULL || api->tls_cert == NULL))
		return qp_fail(msg, QP_E_INVAL,
			"%s %s: beyond loopback the private API needs a token and TLS: add "
			"--private-api-token-file, --private-api-tls-cert and "
			"--private-api-tls-key, or listen on 127.0.0.1",
			qp_options_private_api_name(o),
			qp_sockaddr_format(&o->private_api_listen.sa, addr));
	return parse_mode(api->socket_mode_text, &api->socket_mode, msg);
}
