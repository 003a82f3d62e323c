/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two notations of a log line's fields: name=value for people, JSON for
 * machines; and the escaping that keeps a peer's text from forging either.
 * Any thread.
 */
#include "common/log_line.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/addr.h"
#include "common/keys.h"

static void
put_bytes(struct qp_log_line *l, const char *bytes, size_t len)
{
	if (l->overflow || len > l->limit - l->len) {
		l->overflow = true;
		return;
	}
	memcpy(l->text + l->len, bytes, len);
	l->len += len;
}

void
qp_log_put(struct qp_log_line *l, const char *text)
{
	put_bytes(l, text, strlen(text));
}

void
qp_log_put_printable(struct qp_log_line *l, struct qp_slice text)
{
	char shown[QP_LOG_VALUE_BYTES];

	put_bytes(l, shown, qp_slice_printable(text, shown, sizeof(shown)));
}

/* The JSON form of the character at the front of `text`; sets how many bytes it took. */
static size_t
json_char(struct qp_slice text, char piece[8], size_t *taken)
{
	size_t n = qp_utf8_char(text.ptr, text.len);
	uint8_t c = (uint8_t)text.ptr[0];

	*taken = n == 0 ? 1 : n;
	if (n == 0)
		return (size_t)snprintf(piece, 8, "\\ufffd");
	if (n == 1 && (c == '"' || c == '\\'))
		return (size_t)snprintf(piece, 8, "\\%c", c);
	if (n == 1 && (c < 0x20 || c == 0x7f))
		return (size_t)snprintf(piece, 8, "\\u%04x", c);
	/* C1 controls are legal in JSON, but a terminal may obey them. */
	if (n == 2 && c == 0xc2 && (uint8_t)text.ptr[1] < 0xa0)
		return (size_t)snprintf(piece, 8, "\\u%04x", (uint8_t)text.ptr[1]);
	memcpy(piece, text.ptr, n);
	return n;
}

void
qp_log_put_json_string(struct qp_log_line *l, struct qp_slice text)
{
	size_t shown = 0;

	qp_log_put(l, "\"");
	while (text.len > 0) {
		char piece[8];
		size_t taken, n = json_char(text, piece, &taken);

		if (shown + n > QP_LOG_VALUE_BYTES) {
			qp_log_put(l, "\xe2\x80\xa6");
			break;
		}
		put_bytes(l, piece, n);
		shown += n;
		text.ptr += taken;
		text.len -= taken;
	}
	qp_log_put(l, "\"");
}

/* Quotes a text that would otherwise read as two fields, or as none. */
static void
put_console_string(struct qp_log_line *l, struct qp_slice text)
{
	char shown[QP_LOG_VALUE_BYTES];
	size_t len = qp_slice_printable(text, shown, sizeof(shown));

	if (len > 0 && strpbrk(shown, " =\"") == NULL) {
		put_bytes(l, shown, len);
		return;
	}
	qp_log_put(l, "\"");
	for (size_t i = 0; i < len; i++) {
		if (shown[i] == '"')
			qp_log_put(l, "\\");
		put_bytes(l, shown + i, 1);
	}
	qp_log_put(l, "\"");
}

/* The value's text; `*is_text` false: a JSON number, true, false or null as it stands. */
static struct qp_slice
value_text(const struct qp_log_field *f, char *buf, size_t cap, bool *is_text)
{
	*is_text = false;
	switch (f->type) {
	case QP_LOG_T_U64:
		snprintf(buf, cap, "%" PRIu64, f->u64);
		break;
	case QP_LOG_T_I64:
		snprintf(buf, cap, "%" PRId64, f->i64);
		break;
	case QP_LOG_T_F64:
		snprintf(buf, cap, isfinite(f->f64) ? "%.6g" : "null", f->f64);
		break;
	case QP_LOG_T_BOOL:
		snprintf(buf, cap, "%s", f->b ? "true" : "false");
		break;
	case QP_LOG_T_SLICE:
		if (f->slice.ptr == NULL && f->slice.len == 0) {
			snprintf(buf, cap, "null");
			break;
		}
		*is_text = true;
		return f->slice;
	case QP_LOG_T_HEX:
		*is_text = true;
		snprintf(buf, cap, "0x%04" PRIx64, f->u64);
		break;
	case QP_LOG_T_ADDR:
		*is_text = true;
		qp_sockaddr_format(f->ptr, buf);
		break;
	case QP_LOG_T_KEY:
		*is_text = true;
		qp_key_format(f->ptr, buf);
		break;
	case QP_LOG_T_ERR:
		*is_text = true;
		return qp_slice_of(qp_strerror((int)f->i64));
	case QP_LOG_T_ERRNO:
		*is_text = true;
		snprintf(buf, cap, "%s", strerrordesc_np((int)f->i64) != NULL ?
						 strerrordesc_np((int)f->i64) : "unknown error");
		break;
	case QP_LOG_T_END:
		buf[0] = '\0';
		break;
	}
	return qp_slice_of(buf);
}

#define VALUE_BUF_BYTES 128u
_Static_assert(VALUE_BUF_BYTES >= QP_ADDR_TEXT_BYTES, "an address fits");
_Static_assert(VALUE_BUF_BYTES >= QP_KEY_TEXT_BYTES, "a key fits");

void
qp_log_put_value(struct qp_log_line *l, const struct qp_log_field *f)
{
	char buf[VALUE_BUF_BYTES];
	bool is_text;

	qp_log_put_printable(l, value_text(f, buf, sizeof(buf), &is_text));
}

void
qp_log_put_console_field(struct qp_log_line *l, const struct qp_log_field *f)
{
	char buf[VALUE_BUF_BYTES];
	bool is_text;
	struct qp_slice value = value_text(f, buf, sizeof(buf), &is_text);

	qp_log_put(l, " ");
	qp_log_put(l, f->name);
	qp_log_put(l, "=");
	/* An address or a key is read whole; quotes are for free text. */
	if (is_text)
		put_console_string(l, value);
	else
		put_bytes(l, value.ptr, value.len);
}

void
qp_log_put_json_field(struct qp_log_line *l, const struct qp_log_field *f)
{
	char buf[VALUE_BUF_BYTES];
	bool is_text;
	struct qp_slice value = value_text(f, buf, sizeof(buf), &is_text);

	qp_log_put(l, ",\"");
	qp_log_put(l, f->name);
	qp_log_put(l, "\":");
	if (is_text)
		qp_log_put_json_string(l, value);
	else
		put_bytes(l, value.ptr, value.len);
}
