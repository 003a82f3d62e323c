/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options beside where they came from. Main or loop thread. */
#include "controlplane/settings.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
make_room(struct qp_settings *s)
{
	unsigned cap = s->cap == 0 ? 64 : s->cap * 2;
	struct qp_setting *v;

	if (s->n < s->cap)
		return true;
	v = realloc(s->v, cap * sizeof(*v));
	if (v == NULL)
		return false;
	s->v = v;
	s->cap = cap;
	return true;
}

/* Under a key of this process's: of no use to anybody who reads its memory's dump later. */
static void
digest(const char *text, uint8_t out[QP_SETTING_DIGEST_BYTES])
{
	static uint8_t key[crypto_generichash_KEYBYTES];
	static bool made;

	if (!made)
		randombytes_buf(key, sizeof(key));
	made = true;
	crypto_generichash(out, QP_SETTING_DIGEST_BYTES, (const uint8_t *)text, strlen(text), key,
		sizeof(key));
}

void
qp_settings_take(void *ctx, const struct qp_opt *opt, enum qp_opt_origin origin, const char *place,
	const char *text)
{
	struct qp_settings *s = ctx;
	struct qp_setting new = {.name = qp_opt_keep(opt->name), .origin = origin};

	new.place = qp_opt_keep(place);
	if (opt->secret)
		digest(text, new.digest);
	else
		new.text = qp_opt_keep(text);
	if (new.name == NULL || new.place == NULL || (!opt->secret && new.text == NULL) ||
		!make_room(s))
		s->incomplete = true;
	else
		s->v[s->n++] = new;
}

void
qp_settings_take_secrets(struct qp_settings *s, const struct qp_settings *before)
{
	for (unsigned i = 0; i < before->n; i++) {
		const struct qp_setting *old = &before->v[i];

		if (old->text != NULL || old->origin == QP_OPT_FROM_FILE)
			continue;
		if (make_room(s))
			s->v[s->n++] = *old;
		else
			s->incomplete = true;
	}
}

void
qp_settings_free(struct qp_settings *s)
{
	free(s->v);
	*s = (struct qp_settings) {0};
}

const char *
qp_opt_origin_name(enum qp_opt_origin origin)
{
	switch (origin) {
	case QP_OPT_FROM_LINE:
		return "option";
	case QP_OPT_FROM_ENV:
		return "variable";
	case QP_OPT_FROM_FILE:
		return "file";
	case QP_OPT_FROM_DEFAULT:
		break;
	}
	return "default";
}

/* The first from `from` on that is of the option. `s->n`: there is none. */
static unsigned
next_of(const struct qp_settings *s, const char *name, unsigned from)
{
	while (from < s->n && strcmp(s->v[from].name, name) != 0)
		from++;
	return from;
}

static bool
same_value(const struct qp_setting *a, const struct qp_setting *b)
{
	if (a->text == NULL || b->text == NULL)
		return a->text == b->text &&
		       memcmp(a->digest, b->digest, QP_SETTING_DIGEST_BYTES) == 0;
	return strcmp(a->text, b->text) == 0;
}

static bool
same_values(const struct qp_settings *a, const struct qp_settings *b, const char *name)
{
	unsigned i = next_of(a, name, 0), k = next_of(b, name, 0);

	while (i < a->n && k < b->n && same_value(&a->v[i], &b->v[k])) {
		i = next_of(a, name, i + 1);
		k = next_of(b, name, k + 1);
	}
	return i == a->n && k == b->n;
}

static void
show(const struct qp_settings *s, const char *name, char out[QP_SETTING_SHOWN_BYTES])
{
	size_t used = 0;

	snprintf(out, QP_SETTING_SHOWN_BYTES, "(not set)");
	for (unsigned i = next_of(s, name, 0); i < s->n; i = next_of(s, name, i + 1)) {
		const char *text = s->v[i].text != NULL ? s->v[i].text : "(secret)";

		if (used < QP_SETTING_SHOWN_BYTES)
			used += (size_t)snprintf(out + used, QP_SETTING_SHOWN_BYTES - used, "%s%s",
				used > 0 ? "," : "", text);
	}
}

void
qp_settings_put_back(struct qp_settings *s, const struct qp_settings *before, const char *option)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n; i++) {
		if (strcmp(s->v[i].name, option) != 0)
			s->v[kept++] = s->v[i];
	}
	s->n = kept;
	for (unsigned i = next_of(before, option, 0); i < before->n;
		i = next_of(before, option, i + 1)) {
		if (make_room(s))
			s->v[s->n++] = before->v[i];
	}
}

void
qp_settings_compare(const struct qp_settings *before, const struct qp_settings *after,
	void (*changed)(void *ctx, const char *name, const char *old_text, const char *new_text),
	void *ctx)
{
	const struct qp_settings *sides[] = {before, after};
	char was[QP_SETTING_SHOWN_BYTES], is[QP_SETTING_SHOWN_BYTES];

	for (unsigned side = 0; side < 2; side++) {
		const struct qp_settings *s = sides[side];

		for (unsigned i = 0; i < s->n; i++) {
			const char *name = s->v[i].name;

			/* Once: at its first value, and on the other side only what is new there. */
			if (next_of(s, name, 0) != i ||
				(side == 1 && next_of(before, name, 0) < before->n) ||
				same_values(before, after, name))
				continue;
			show(before, name, was);
			show(after, name, is);
			changed(ctx, name, was, is);
		}
	}
}
