/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format's numbers in words, for logs and reason phrases. Pure, any
 * thread.
 */
#include "common/wire.h"

#include <inttypes.h>
#include <stdio.h>

bool
qp_wire_from_client(enum qp_wire_type type)
{
	switch (type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
	case QP_WIRE_SESSION_CLOSE:
	case QP_WIRE_CONNECTION_CLOSE:
		return true;
	default:
		return false;
	}
}

bool
qp_wire_from_server(enum qp_wire_type type)
{
	switch (type) {
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
	case QP_WIRE_SESSION_CLOSE:
	case QP_WIRE_CONNECTION_CLOSE:
		return true;
	default:
		return false;
	}
}

const char *
qp_wire_type_name(enum qp_wire_type type)
{
	switch (type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		return "LocalForwardRequest";
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
		return "LocalForwardResponse";
	case QP_WIRE_LOCAL_NEW_CONNECTION:
		return "LocalNewConnection";
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		return "RemoteForwardRequest";
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return "RemoteForwardResponse";
	case QP_WIRE_REMOTE_NEW_CONNECTION:
		return "RemoteNewConnection";
	case QP_WIRE_SESSION_CLOSE:
		return "SessionClose";
	case QP_WIRE_CONNECTION_CLOSE:
		return "ConnectionClose";
	}
	return "unknown message";
}

const char *
qp_wire_protocol_name(enum qp_wire_protocol protocol)
{
	switch (protocol) {
	case QP_WIRE_TCP:
		return "tcp";
	case QP_WIRE_UDP:
		return "udp";
	}
	return "unknown protocol";
}

const char *
qp_wire_status_name(enum qp_wire_status status)
{
	switch (status) {
	case QP_WIRE_SUCCESS:
		return "success";
	case QP_WIRE_PORT_IN_USE:
		return "port in use";
	case QP_WIRE_PERMISSION_DENIED:
		return "permission denied";
	case QP_WIRE_INTERNAL_ERROR:
		return "internal error";
	}
	return "unknown status";
}

const char *
qp_wire_reason_name(enum qp_wire_reason reason)
{
	switch (reason) {
	case QP_WIRE_NORMAL:
		return "normal";
	case QP_WIRE_REFUSED:
		return "connection refused";
	case QP_WIRE_TIMEOUT:
		return "timeout";
	case QP_WIRE_ERROR:
		return "error";
	}
	return "unknown reason";
}

const char *
qp_app_error_phrase(enum qp_app_error code)
{
	switch (code) {
	case QP_APP_NONE:
		return "session closed";
	case QP_APP_PROTOCOL:
		return "protocol error";
	case QP_APP_AUTH:
		return "authentication failed";
	case QP_APP_REFUSED:
		return "forward refused";
	case QP_APP_SHUTDOWN:
		return "shutting down";
	case QP_APP_TIMEOUT:
		return "timed out";
	case QP_APP_INTERNAL:
		return "internal error";
	}
	return "unknown error";
}

/* Long enough for a host name, short enough that a line holds two of them. */
#define TEXT_SHOWN 320u

size_t
qp_wire_describe(const struct qp_wire_msg *msg, char *out, size_t cap)
{
	const char *name = qp_wire_type_name(msg->type);
	char text[TEXT_SHOWN], more[TEXT_SHOWN];
	int n;

	switch (msg->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		qp_slice_printable(msg->local_forward_request.destination, text, sizeof(text));
		qp_slice_printable(msg->local_forward_request.source, more, sizeof(more));
		n = snprintf(out, cap, "%s %s to %s, local source %s", name,
			qp_wire_protocol_name(msg->local_forward_request.protocol), text, more);
		break;
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		qp_slice_printable(msg->remote_forward_request.destination, text, sizeof(text));
		n = snprintf(out, cap, "%s port %u/%s, local destination %s", name,
			msg->remote_forward_request.port,
			qp_wire_protocol_name(msg->remote_forward_request.protocol), text);
		break;
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		qp_slice_printable(msg->forward_response.message, text, sizeof(text));
		n = snprintf(out, cap, "%s %s: %s", name,
			qp_wire_status_name(msg->forward_response.status), text);
		break;
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
		n = snprintf(out, cap, "%s id %" PRIu32 " %s", name, msg->new_connection.id,
			qp_wire_protocol_name(msg->new_connection.protocol));
		break;
	case QP_WIRE_CONNECTION_CLOSE:
		n = snprintf(out, cap, "%s id %" PRIu32 " %s", name, msg->connection_close.id,
			qp_wire_reason_name(msg->connection_close.reason));
		break;
	default:
		n = snprintf(out, cap, "%s", name);
		break;
	}
	return (size_t)n < cap ? (size_t)n : cap - 1;
}
