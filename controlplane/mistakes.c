/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded list of what is wrong with a configuration. Any thread, one user. */
#include "controlplane/mistakes.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"

int
qp_mistakes_add(struct qp_mistakes *m, int err, const char *fmt, ...)
{
	char raw[sizeof(m->v[0].text)];
	va_list args;

	if (m->n == QP_MISTAKES_MAX) {
		m->more++;
		return err;
	}
	va_start(args, fmt);
	vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	/* What is quoted from a file may be anything, a terminal's commands included. */
	qp_slice_printable(qp_slice_of(raw), m->v[m->n].text, sizeof(m->v[0].text));
	m->n++;
	return err;
}

unsigned
qp_mistakes_count(const struct qp_mistakes *m)
{
	return m->n + m->more;
}

void
qp_mistakes_sum_up(const struct qp_mistakes *m, struct qp_errmsg *msg)
{
	unsigned n = qp_mistakes_count(m);

	if (n == 0)
		return;
	if (n == 1)
		qp_fail(msg, 0, "%s", m->v[0].text);
	else
		qp_fail(msg, 0, "%.300s (and %u more: quicport check-config lists them)",
			m->v[0].text, n - 1);
}
