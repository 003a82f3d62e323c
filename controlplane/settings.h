/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_SETTINGS_H
#define QP_CONTROLPLANE_SETTINGS_H

#include <stdint.h>

#include "common/opt.h"

/*
 * What each option's value is and where it came from, for people to look at and
 * for a reload to compare. Of a secret there is only a keyed hash, which tells
 * whether it changed. Main or loop thread.
 */
#define QP_SETTING_DIGEST_BYTES 16u

struct qp_setting {
	const char *name;  /* without dashes; borrowed from the table of options */
	const char *text;  /* NULL: a secret; for the process's life */
	const char *place; /* "FILE:LINE", a variable's name, or "" */
	enum qp_opt_origin origin;
	uint8_t digest[QP_SETTING_DIGEST_BYTES];
};

/* In the order of the table; a repeated option has several. All zero: none. */
struct qp_settings {
	unsigned n, cap;
	struct qp_setting *v;
	bool incomplete; /* memory ran out */
};

/* struct qp_opt_source's function; ctx is a struct qp_settings. */
void qp_settings_take(void *ctx, const struct qp_opt *opt, enum qp_opt_origin origin,
	const char *place, const char *text);
/* Secrets of the command line and the environment, which can't be read from there again. */
void qp_settings_take_secrets(struct qp_settings *s, const struct qp_settings *before);
void qp_settings_free(struct qp_settings *s);
/* The values of `option` become those of `before`. */
void qp_settings_put_back(
	struct qp_settings *s, const struct qp_settings *before, const char *option);

const char *qp_opt_origin_name(enum qp_opt_origin origin);

#define QP_SETTING_SHOWN_BYTES 256u
/*
 * Calls `changed` for each option whose values differ, with both as people read
 * them: joined by commas, "(not set)", "(secret)".
 */
void qp_settings_compare(const struct qp_settings *before, const struct qp_settings *after,
	void (*changed)(void *ctx, const char *name, const char *old_text, const char *new_text),
	void *ctx);

#endif
