/* SPDX-License-Identifier: Apache-2.0 */
/* Why clients are refused, in a word. Pure. */
#include <string.h>

#include "controlplane/authd.h"

const char *
qp_authd_reason_name(enum qp_authd_reason reason)
{
	static const char *const names[] = {
#define X(name) #name,
		QP_AUTHD_REASONS(X)
#undef X
	};

	return names[reason];
}

enum qp_authd_reason
qp_authd_reason_of(const char *why)
{
	static const struct {
		const char *why;
		enum qp_authd_reason reason;
	} rows[] = {
		{"client key is not authorized", QP_REFUSED_unknown_key},
		{"pre-shared key differs", QP_REFUSED_wrong_psk},
		{"client's clock is more than 30 s off", QP_REFUSED_wrong_clock},
		{"client's answer is wrong", QP_REFUSED_wrong_answer},
		{"client asks for another method", QP_REFUSED_method_off},
		{"no authentication is configured", QP_REFUSED_method_off},
		{"first step has the wrong length", QP_REFUSED_malformed},
		{"client key is a point of low order", QP_REFUSED_malformed},
		{"client's ephemeral key is a point of low order", QP_REFUSED_malformed},
	};

	for (size_t i = 0; why != NULL && i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].why, why) == 0)
			return rows[i].reason;
	}
	return QP_REFUSED_other;
}
