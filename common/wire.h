/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_COMMON_WIRE_H
#define QP_COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/text.h"

/*
 * quicport/1, the whole wire format and all its limits: names of the TLS
 * session, sizes of the authentication steps, control messages, what a data
 * stream starts with, UDP records, error codes. Integers are big-endian.
 * Pure functions, any thread.
 */

#define QP_WIRE_ALPN "quicport/1"
#define QP_WIRE_ALPN_LIST "\x0aquicport/1" /* as TLS carries it: length, then name */
#define QP_WIRE_SNI "quicport"

#define QP_WIRE_DEFAULT_PORT 39000u
#define QP_WIRE_KEEP_ALIVE_S 5u
#define QP_WIRE_IDLE_TIMEOUT_S 90u

/* Authentication: raw bytes at the start of stream 0 (common/auth.h makes and checks them). */
#define QP_WIRE_X25519_MAGIC "QUICPORT_AUTH"
#define QP_WIRE_X25519_MAGIC_BYTES 13u
#define QP_WIRE_X25519_STEP1_BYTES (13u + 32u + 32u)
#define QP_WIRE_X25519_STEP2_BYTES (32u + 32u + 32u + 32u)
#define QP_WIRE_PSK_MAGIC "QUICPORT_PSK"
#define QP_WIRE_PSK_MAGIC_BYTES 12u
#define QP_WIRE_PSK_STEP1_BYTES (12u + 8u + 32u + 32u)
#define QP_WIRE_PSK_STEP2_BYTES (32u + 32u + 32u)
#define QP_WIRE_STEP3_BYTES 32u
#define QP_WIRE_MAX_STEP1_BYTES QP_WIRE_PSK_STEP1_BYTES
#define QP_WIRE_MAX_STEP2_BYTES QP_WIRE_X25519_STEP2_BYTES
#define QP_WIRE_PSK_WINDOW_S 30u /* largest difference of the two clocks */

/* Control messages: type (1), payload length (2), payload. */
#define QP_WIRE_HEADER_BYTES 3u
#define QP_WIRE_MAX_PAYLOAD 65535u
#define QP_WIRE_MAX_MESSAGE (QP_WIRE_HEADER_BYTES + QP_WIRE_MAX_PAYLOAD)

/* A data stream starts with the id of its connection. */
#define QP_WIRE_CONN_ID_BYTES 4u

/* UDP: records of length (4) and payload. */
#define QP_WIRE_RECORD_HEADER_BYTES 4u
#define QP_WIRE_MAX_RECORD 65507u

enum qp_wire_type {
	QP_WIRE_LOCAL_FORWARD_REQUEST = 0x01,
	QP_WIRE_LOCAL_FORWARD_RESPONSE = 0x02,
	QP_WIRE_LOCAL_NEW_CONNECTION = 0x03,
	QP_WIRE_REMOTE_FORWARD_REQUEST = 0x21,
	QP_WIRE_REMOTE_FORWARD_RESPONSE = 0x22,
	QP_WIRE_REMOTE_NEW_CONNECTION = 0x23,
	QP_WIRE_SESSION_CLOSE = 0x41,
	QP_WIRE_CONNECTION_CLOSE = 0x61,
};

enum qp_wire_protocol {
	QP_WIRE_TCP = 1,
	QP_WIRE_UDP = 2,
};

enum qp_wire_status {
	QP_WIRE_SUCCESS = 0,
	QP_WIRE_PORT_IN_USE = 1,
	QP_WIRE_PERMISSION_DENIED = 2,
	QP_WIRE_INTERNAL_ERROR = 3,
};

enum qp_wire_reason {
	QP_WIRE_NORMAL = 0,
	QP_WIRE_REFUSED = 1,
	QP_WIRE_TIMEOUT = 2,
	QP_WIRE_ERROR = 3,
};

/*
 * Codes of QUIC's CONNECTION_CLOSE (application). quicport/1 gives the
 * numbers no meaning, so a peer may send any; the phrase beside it is what a
 * person sees. One code for every failed authentication: nothing says why.
 */
enum qp_app_error {
	QP_APP_NONE = 0,            /* the session ended as it should */
	QP_APP_PROTOCOL = 1,        /* malformed or misplaced message; the phrase says which */
	QP_APP_AUTH = 2,            /* authentication failed */
	QP_APP_REFUSED = 3,         /* the forward was not granted; the response says why */
	QP_APP_SHUTDOWN = 4,        /* this side is going down */
	QP_APP_TIMEOUT = 5,         /* authentication or the first request took too long */
	QP_APP_INTERNAL = 6,        /* this side failed */
};

/* Codes of RESET_STREAM and STOP_SENDING on data streams; as little defined as those above. */
enum qp_stream_error {
	QP_STREAM_RESET = 0,        /* the TCP connection behind it was reset */
	QP_STREAM_REFUSED = 1,      /* could not connect */
	QP_STREAM_TIMEOUT = 2,      /* the TCP connection behind it timed out */
	QP_STREAM_PROTOCOL = 3,     /* bad connection id or record */
	QP_STREAM_CLOSED = 4,       /* the tunnel or its port is closing */
	QP_STREAM_LIMIT = 5,        /* beyond a limit of this side */
};

/*
 * A control message. `type` says which member counts. The two forward
 * responses and the two new-connection messages share theirs.
 */
struct qp_wire_msg {
	enum qp_wire_type type;
	union {
		struct {
			enum qp_wire_protocol protocol;
			struct qp_slice destination; /* host:port; at most 65,532 bytes */
			struct qp_slice source;      /* for the log */
		} local_forward_request;
		struct {
			uint16_t port;
			enum qp_wire_protocol protocol;
			struct qp_slice destination; /* for the log */
		} remote_forward_request;
		struct {
			enum qp_wire_status status;
			struct qp_slice message;
		} forward_response;
		struct {
			uint32_t id;
			enum qp_wire_protocol protocol;
		} new_connection;
		struct {
			uint32_t id;
			enum qp_wire_reason reason;
		} connection_close;
	};
};

/*
 * Writes one message. Returns its bytes; QP_E_FULL when it does not fit into
 * `cap`, QP_E_INVAL for a field that the wire cannot carry (unknown enum
 * value, text too long or not UTF-8): nothing of use is in `buf` then.
 */
int qp_wire_encode(const struct qp_wire_msg *msg, uint8_t *buf, size_t cap)
	__attribute__((warn_unused_result));

/*
 * Takes one message from the front of `len` received bytes, however they were
 * split on the way.
 *   0            `out` is the message, `*used` its bytes; its text is borrowed
 *                from `buf` and is valid UTF-8 (so it may hold control
 *                characters and NUL: qp_slice_printable before a person sees it).
 *   QP_E_AGAIN   not whole yet: call again with the same bytes and more.
 *   QP_E_PROTO   broken; `*reason` is the phrase for CONNECTION_CLOSE (static).
 * An unknown type, or a length below the message's fixed fields, is refused
 * from the header alone, so no peer makes us wait for a message that is lost
 * already. Bytes beyond the last field of a fixed-size payload are accepted and
 * ignored: the protocol names only shorter payloads an error, and a peer that
 * appends a field one day still works. `used` and `reason` may not be NULL.
 */
int qp_wire_decode(const uint8_t *buf, size_t len, struct qp_wire_msg *out, size_t *used,
	const char **reason) __attribute__((warn_unused_result));

/*
 * The bytes of the whole message that starts at `buf`, known from its 3-byte
 * header: for sizing a receive buffer. QP_E_AGAIN below 3 bytes.
 */
int qp_wire_message_bytes(const uint8_t *buf, size_t len);

/* Whether a client, or a server, may send this type at all. */
bool qp_wire_from_client(enum qp_wire_type type);
bool qp_wire_from_server(enum qp_wire_type type);

/* Names, never NULL: "RemoteForwardRequest", "tcp", "port in use", "connection refused", … */
const char *qp_wire_type_name(enum qp_wire_type type);
const char *qp_wire_protocol_name(enum qp_wire_protocol protocol);
const char *qp_wire_status_name(enum qp_wire_status status);
const char *qp_wire_reason_name(enum qp_wire_reason reason);
/* The default reason phrase of a CONNECTION_CLOSE. */
const char *qp_app_error_phrase(enum qp_app_error code);

/*
 * One line that says what a message is, safe for a log. Always terminated;
 * returns its length without NUL. cap ≥ 1.
 */
size_t qp_wire_describe(const struct qp_wire_msg *msg, char *out, size_t cap);

static inline uint16_t
qp_get_u16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t
qp_get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t
qp_get_u64(const uint8_t *p)
{
	return (uint64_t)qp_get_u32(p) << 32 | qp_get_u32(p + 4);
}

static inline void
qp_put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void
qp_put_u32(uint8_t *p, uint32_t v)
{
	qp_put_u16(p, (uint16_t)(v >> 16));
	qp_put_u16(p + 2, (uint16_t)v);
}

static inline void
qp_put_u64(uint8_t *p, uint64_t v)
{
	qp_put_u32(p, (uint32_t)(v >> 32));
	qp_put_u32(p + 4, (uint32_t)v);
}

/* The start of a data stream. */
static inline void
qp_wire_put_conn_id(uint8_t out[QP_WIRE_CONN_ID_BYTES], uint32_t id)
{
	qp_put_u32(out, id);
}

static inline uint32_t
qp_wire_get_conn_id(const uint8_t in[QP_WIRE_CONN_ID_BYTES])
{
	return qp_get_u32(in);
}

/* A record's header. QP_E_INVAL above QP_WIRE_MAX_RECORD. An empty datagram is a record, too. */
static inline int
qp_wire_put_record_header(uint8_t out[QP_WIRE_RECORD_HEADER_BYTES], size_t payload_bytes)
{
	if (payload_bytes > QP_WIRE_MAX_RECORD)
		return QP_E_INVAL;
	qp_put_u32(out, (uint32_t)payload_bytes);
	return QP_OK;
}

/* The payload's length, or QP_E_PROTO for one above QP_WIRE_MAX_RECORD. */
static inline int
qp_wire_get_record_header(const uint8_t in[QP_WIRE_RECORD_HEADER_BYTES])
{
	uint32_t n = qp_get_u32(in);

	return n > QP_WIRE_MAX_RECORD ? QP_E_PROTO : (int)n;
}

/*
 * Takes one record from the front of `len` bytes, in the manner of
 * qp_wire_decode: 0 (`*payload` borrows from `buf`), QP_E_AGAIN, QP_E_PROTO.
 */
int qp_wire_record_decode(const uint8_t *buf, size_t len, const uint8_t **payload,
	size_t *payload_len, size_t *used) __attribute__((warn_unused_result));

#endif
