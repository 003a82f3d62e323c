/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events as entries of systemd's journal: MESSAGE is what a console line says
 * after the process, and each field stands by itself, so that journalctl finds
 * QUICPORT_CLIENT=alice (systemd.journal-fields(7)). Any thread.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/log_sink.h"

#define FIXED_FIELDS 6u
#define MAX_FIELDS 24u /* of an event */

int (*qp_log_journal_sendv)(const struct iovec *iov, int n);

/* syslog(3)'s numbers. */
static const char priorities[] = {'3', '4', '6', '7', '7'};

void
qp_log_use_journal(int (*sendv)(const struct iovec *iov, int n))
{
	qp_log_journal_sendv = sendv;
}

static void
line_start(struct qp_log_line *l, const char *begin)
{
	l->len = 0;
	l->overflow = false;
	l->limit = sizeof(l->text);
	qp_log_put(l, begin);
}

/* The same text as on the console. */
static struct iovec
message_of(struct qp_log_line *l, const struct qp_log_event *e)
{
	line_start(l, "MESSAGE=");
	qp_log_put_printable(l, qp_slice_of(e->message));
	for (const struct qp_log_field *f = e->fields; f->type != QP_LOG_T_END; f++)
		qp_log_put_console_field(l, f);
	return (struct iovec) {l->text, l->len};
}

/* "QUICPORT_NAME=value" at `at`; an empty iovec when there is no room. */
static struct iovec
field_of(struct qp_log_line *l, const struct qp_log_field *f)
{
	size_t start = l->len;

	qp_log_put(l, "QUICPORT_");
	qp_log_put(l, f->name);
	for (size_t i = start; i < l->len; i++)
		l->text[i] = (char)toupper((unsigned char)l->text[i]);
	qp_log_put(l, "=");
	qp_log_put_value(l, f);
	if (!l->overflow)
		return (struct iovec) {l->text + start, l->len - start};
	l->overflow = false;
	l->len = start;
	return (struct iovec) {NULL, 0};
}

void
qp_log_to_journal(const struct qp_log_sink *s, const struct qp_log_event *e)
{
	char identifier[64], priority[16], module[64], generation[48], left_out[48];
	struct iovec iov[FIXED_FIELDS + MAX_FIELDS];
	struct qp_log_line message, fields;
	int n = 0;

	iov[n++] = message_of(&message, e);
	snprintf(priority, sizeof(priority), "PRIORITY=%c", priorities[e->level]);
	iov[n++] = (struct iovec) {priority, strlen(priority)};
	snprintf(identifier, sizeof(identifier), "SYSLOG_IDENTIFIER=quicport-%.32s", s->process);
	iov[n++] = (struct iovec) {identifier, strlen(identifier)};
	snprintf(module, sizeof(module), "QUICPORT_MODULE=%s", qp_log_module_name(e->module));
	iov[n++] = (struct iovec) {module, strlen(module)};
	if (s->generation != 0) {
		snprintf(generation, sizeof(generation), "QUICPORT_GENERATION=0x%04x",
			s->generation);
		iov[n++] = (struct iovec) {generation, strlen(generation)};
	}
	if (e->left_out != 0) {
		snprintf(left_out, sizeof(left_out), "QUICPORT_LEFT_OUT=%u", e->left_out);
		iov[n++] = (struct iovec) {left_out, strlen(left_out)};
	}
	line_start(&fields, "");
	for (const struct qp_log_field *f = e->fields;
		f->type != QP_LOG_T_END && n < (int)(FIXED_FIELDS + MAX_FIELDS); f++) {
		iov[n] = field_of(&fields, f);
		n += iov[n].iov_len != 0;
	}
	qp_log_journal_sendv(iov, n);
}
