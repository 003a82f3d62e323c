/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control messages and UDP records to bytes and back. Pure: no state, no
 * allocation; the decoder borrows from the caller's buffer. What a message
 * means, and whether it may come now, is its receiver's to judge.
 */
#include "common/wire.h"

#include <string.h>

/* Payload bytes that a message has at least; -1 for a type that does not exist. */
static int
fixed_bytes(unsigned type)
{
	switch (type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		return 3;
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return 1;
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
	case QP_WIRE_CONNECTION_CLOSE:
		return 5;
	case QP_WIRE_SESSION_CLOSE:
		return 0;
	}
	return -1;
}

static bool
protocol_ok(unsigned protocol)
{
	return protocol == QP_WIRE_TCP || protocol == QP_WIRE_UDP;
}

static bool
status_ok(unsigned status)
{
	return status <= QP_WIRE_INTERNAL_ERROR;
}

static bool
reason_ok(unsigned reason)
{
	return reason <= QP_WIRE_ERROR;
}

static bool
text_ok(struct qp_slice text)
{
	return text.len <= QP_WIRE_MAX_PAYLOAD && qp_utf8_valid(text.ptr, text.len);
}

/* Bytes of the variable part. Each text is within QP_WIRE_MAX_PAYLOAD already: no overflow. */
static size_t
text_bytes(const struct qp_wire_msg *msg)
{
	switch (msg->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		return msg->local_forward_request.destination.len +
		       msg->local_forward_request.source.len;
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		return msg->remote_forward_request.destination.len;
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return msg->forward_response.message.len;
	default:
		return 0;
	}
}

static bool
encodable(const struct qp_wire_msg *msg)
{
	switch (msg->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		return protocol_ok(msg->local_forward_request.protocol) &&
		       text_ok(msg->local_forward_request.destination) &&
		       text_ok(msg->local_forward_request.source);
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		return protocol_ok(msg->remote_forward_request.protocol) &&
		       text_ok(msg->remote_forward_request.destination);
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return status_ok(msg->forward_response.status) &&
		       text_ok(msg->forward_response.message);
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
		return protocol_ok(msg->new_connection.protocol);
	case QP_WIRE_CONNECTION_CLOSE:
		return reason_ok(msg->connection_close.reason);
	case QP_WIRE_SESSION_CLOSE:
		return true;
	}
	return false;
}

static uint8_t *
put_text(uint8_t *p, struct qp_slice text)
{
	if (text.len > 0)
		memcpy(p, text.ptr, text.len);
	return p + text.len;
}

static void
put_payload(const struct qp_wire_msg *msg, uint8_t *p)
{
	switch (msg->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		p[0] = (uint8_t)msg->local_forward_request.protocol;
		qp_put_u16(p + 1, (uint16_t)msg->local_forward_request.destination.len);
		p = put_text(p + 3, msg->local_forward_request.destination);
		put_text(p, msg->local_forward_request.source);
		break;
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		qp_put_u16(p, msg->remote_forward_request.port);
		p[2] = (uint8_t)msg->remote_forward_request.protocol;
		put_text(p + 3, msg->remote_forward_request.destination);
		break;
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		p[0] = (uint8_t)msg->forward_response.status;
		put_text(p + 1, msg->forward_response.message);
		break;
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
		qp_put_u32(p, msg->new_connection.id);
		p[4] = (uint8_t)msg->new_connection.protocol;
		break;
	case QP_WIRE_CONNECTION_CLOSE:
		qp_put_u32(p, msg->connection_close.id);
		p[4] = (uint8_t)msg->connection_close.reason;
		break;
	case QP_WIRE_SESSION_CLOSE:
		break;
	}
}

int
qp_wire_encode(const struct qp_wire_msg *msg, uint8_t *buf, size_t cap)
{
	size_t payload;

	if (!encodable(msg))
		return QP_E_INVAL;
	payload = (size_t)fixed_bytes(msg->type) + text_bytes(msg);
	if (payload > QP_WIRE_MAX_PAYLOAD)
		return QP_E_INVAL;
	if (cap < QP_WIRE_HEADER_BYTES + payload)
		return QP_E_FULL;
	buf[0] = (uint8_t)msg->type;
	qp_put_u16(buf + 1, (uint16_t)payload);
	put_payload(msg, buf + QP_WIRE_HEADER_BYTES);
	return (int)(QP_WIRE_HEADER_BYTES + payload);
}

static int
broken(const char **reason, const char *phrase)
{
	*reason = phrase;
	return QP_E_PROTO;
}

static int
get_protocol(uint8_t byte, enum qp_wire_protocol *out, const char **reason)
{
	if (!protocol_ok(byte))
		return broken(reason, "unknown protocol in control message");
	*out = (enum qp_wire_protocol)byte;
	return QP_OK;
}

static int
get_text(const uint8_t *p, size_t len, struct qp_slice *out, const char **reason)
{
	if (!qp_utf8_valid((const char *)p, len))
		return broken(reason, "text in control message is not UTF-8");
	*out = (struct qp_slice) {(const char *)p, len};
	return QP_OK;
}

static int
get_local_request(const uint8_t *p, size_t len, struct qp_wire_msg *out, const char **reason)
{
	size_t destination = qp_get_u16(p + 1);
	int err = get_protocol(p[0], &out->local_forward_request.protocol, reason);

	if (err != QP_OK)
		return err;
	if (destination > len - 3)
		return broken(reason, "destination longer than its control message");
	err = get_text(p + 3, destination, &out->local_forward_request.destination, reason);
	if (err != QP_OK)
		return err;
	return get_text(p + 3 + destination, len - 3 - destination,
		&out->local_forward_request.source, reason);
}

static int
get_remote_request(const uint8_t *p, size_t len, struct qp_wire_msg *out, const char **reason)
{
	int err = get_protocol(p[2], &out->remote_forward_request.protocol, reason);

	if (err != QP_OK)
		return err;
	out->remote_forward_request.port = qp_get_u16(p);
	return get_text(p + 3, len - 3, &out->remote_forward_request.destination, reason);
}

static int
get_response(const uint8_t *p, size_t len, struct qp_wire_msg *out, const char **reason)
{
	if (!status_ok(p[0]))
		return broken(reason, "unknown status in control message");
	out->forward_response.status = (enum qp_wire_status)p[0];
	return get_text(p + 1, len - 1, &out->forward_response.message, reason);
}

/* `len` is at least the type's fixed bytes. */
static int
get_payload(const uint8_t *p, size_t len, struct qp_wire_msg *out, const char **reason)
{
	switch (out->type) {
	case QP_WIRE_LOCAL_FORWARD_REQUEST:
		return get_local_request(p, len, out, reason);
	case QP_WIRE_REMOTE_FORWARD_REQUEST:
		return get_remote_request(p, len, out, reason);
	case QP_WIRE_LOCAL_FORWARD_RESPONSE:
	case QP_WIRE_REMOTE_FORWARD_RESPONSE:
		return get_response(p, len, out, reason);
	case QP_WIRE_LOCAL_NEW_CONNECTION:
	case QP_WIRE_REMOTE_NEW_CONNECTION:
		out->new_connection.id = qp_get_u32(p);
		return get_protocol(p[4], &out->new_connection.protocol, reason);
	case QP_WIRE_CONNECTION_CLOSE:
		if (!reason_ok(p[4]))
			return broken(reason, "unknown reason in control message");
		out->connection_close.id = qp_get_u32(p);
		out->connection_close.reason = (enum qp_wire_reason)p[4];
		return QP_OK;
	case QP_WIRE_SESSION_CLOSE:
		return QP_OK;
	}
	return broken(reason, "unknown control message");
}

int
qp_wire_decode(const uint8_t *buf, size_t len, struct qp_wire_msg *out, size_t *used,
	const char **reason)
{
	size_t payload;
	int fixed, err;

	if (len == 0)
		return QP_E_AGAIN;
	fixed = fixed_bytes(buf[0]);
	if (fixed < 0)
		return broken(reason, "unknown control message");
	if (len < QP_WIRE_HEADER_BYTES)
		return QP_E_AGAIN;
	payload = qp_get_u16(buf + 1);
	if (payload < (size_t)fixed)
		return broken(reason, "control message shorter than its fields");
	if (len - QP_WIRE_HEADER_BYTES < payload)
		return QP_E_AGAIN;
	memset(out, 0, sizeof(*out));
	out->type = (enum qp_wire_type)buf[0];
	err = get_payload(buf + QP_WIRE_HEADER_BYTES, payload, out, reason);
	if (err == QP_OK)
		*used = QP_WIRE_HEADER_BYTES + payload;
	return err;
}

int
qp_wire_message_bytes(const uint8_t *buf, size_t len)
{
	if (len < QP_WIRE_HEADER_BYTES)
		return QP_E_AGAIN;
	return (int)(QP_WIRE_HEADER_BYTES + qp_get_u16(buf + 1));
}

int
qp_wire_record_decode(const uint8_t *buf, size_t len, const uint8_t **payload, size_t *payload_len,
	size_t *used)
{
	int n;

	if (len < QP_WIRE_RECORD_HEADER_BYTES)
		return QP_E_AGAIN;
	n = qp_wire_get_record_header(buf);
	if (n < 0)
		return n;
	if (len - QP_WIRE_RECORD_HEADER_BYTES < (size_t)n)
		return QP_E_AGAIN;
	*payload = buf + QP_WIRE_RECORD_HEADER_BYTES;
	*payload_len = (size_t)n;
	*used = QP_WIRE_RECORD_HEADER_BYTES + (size_t)n;
	return QP_OK;
}
