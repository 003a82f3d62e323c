/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command line left open comes from the environment, then from a
 * configuration file, then from the defaults. At the start of a process, and
 * when a file is read again.
 */
#include "common/opt_impl.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MISTAKES 16u /* of a file, about one option */

bool
qp_opt_is_again(const struct qp_opt_parse *p)
{
	return p->cmd->source != NULL && p->cmd->source->again;
}

/* Reloads bring the same few texts again and again. */
struct kept {
	struct kept *next;
	char text[];
};

const char *
qp_opt_keep(const char *text)
{
	static struct kept *all;
	size_t len = strlen(text) + 1;
	struct kept *k;

	for (k = all; k != NULL; k = k->next) {
		if (strcmp(k->text, text) == 0)
			return k->text;
	}
	k = malloc(sizeof(*k) + len);
	if (k == NULL)
		return NULL;
	memcpy(k->text, text, len);
	k->next = all;
	all = k;
	return k->text;
}

static int
refuse(const struct qp_opt *opt, const char *source, const char *text, int err,
	const struct qp_errmsg *expected, struct qp_errmsg *msg)
{
	char shown[QP_OPT_SHOWN_BYTES];

	if (err == QP_E_NOMEM)
		return qp_fail(msg, err, "%s: out of memory", source);
	if (opt->secret)
		return qp_fail(msg, QP_E_INVAL, "%s: expected %.200s", source, expected->text);
	qp_slice_printable(qp_slice_of(text), shown, sizeof(shown));
	return qp_fail(msg, QP_E_INVAL, "%s '%s': expected %.200s", source, shown, expected->text);
}

/* "FILE:LINE: name" without the name, "NAME" of a variable. */
static void
tell_value(const struct qp_opt_parse *p, const struct qp_opt *opt, enum qp_opt_origin origin,
	const char *source, const char *text)
{
	char place[512] = "";

	if (p->cmd->source == NULL || p->cmd->source->value == NULL)
		return;
	if (origin == QP_OPT_FROM_ENV)
		snprintf(place, sizeof(place), "%s", source);
	else if (origin == QP_OPT_FROM_FILE)
		snprintf(place, sizeof(place), "%.*s",
			(int)(strlen(source) - strlen(opt->name) - 2), source);
	p->cmd->source->value(p->cmd->source->ctx, opt, origin, place, text);
}

int
qp_opt_take(struct qp_opt_parse *p, size_t i, enum qp_opt_origin origin, const char *source,
	const char *text, struct qp_errmsg *msg)
{
	const struct qp_opt *opt = &p->cmd->opts[i];
	struct qp_errmsg expected = {.text = "another value"};
	int err = opt->parse(opt, text, &expected);

	if (err != QP_OK)
		return refuse(opt, source, text, err, &expected, msg);
	tell_value(p, opt, origin, source, text);
	return QP_OK;
}

/* NULL when unset or empty. */
static char *
env_value(const struct qp_opt *opt, char name[QP_OPT_NAME_BYTES])
{
	char *value;

	qp_opt_env_name(opt, name);
	value = name[0] == '\0' ? NULL : getenv(name);
	return value == NULL || value[0] == '\0' ? NULL : value;
}

static int
take_repeated_env(struct qp_opt_parse *p, size_t i, const char *name, const char *value)
{
	char *copy = strdup(value), *save = NULL;
	int err = QP_OK;

	if (copy == NULL)
		return qp_fail(p->msg, QP_E_NOMEM, "%s: out of memory", name);
	for (char *word = strtok_r(copy, ",", &save); word != NULL && err == QP_OK;
		word = strtok_r(NULL, ",", &save)) {
		struct qp_slice text = qp_slice_trim(qp_slice_of(word));
		const char *kept;

		word[(size_t)(text.ptr - word) + text.len] = '\0';
		if (text.len == 0)
			continue;
		/* It may be borrowed for the process's life. */
		kept = qp_opt_keep(text.ptr);
		err = kept != NULL ? qp_opt_take(p, i, QP_OPT_FROM_ENV, name, kept, p->msg)
				   : qp_fail(p->msg, QP_E_NOMEM, "%s: out of memory", name);
	}
	free(copy);
	return err;
}

static int
take_env(struct qp_opt_parse *p, size_t i)
{
	const struct qp_opt *opt = &p->cmd->opts[i];
	char name[QP_OPT_NAME_BYTES];
	char *value = env_value(opt, name);
	int err = QP_OK;

	if (opt->secret && qp_opt_is_again(p) && opt->given != NULL && *opt->given)
		p->seen[i] = true;
	if (value == NULL)
		return QP_OK;
	if (!p->seen[i])
		err = opt->repeat ? take_repeated_env(p, i, name, value)
				  : qp_opt_take(p, i, QP_OPT_FROM_ENV, name, value, p->msg);
	p->seen[i] = true;
	/* A child process must not inherit a secret. */
	if (opt->secret && err == QP_OK) {
		sodium_memzero(value, strlen(value));
		unsetenv(name);
	}
	return err;
}

/* SIZE_MAX: there is none. */
static size_t
find_for_file(const struct qp_opt_parse *p, const char *name)
{
	for (size_t i = 0; i < p->nopts; i++) {
		const struct qp_opt *opt = &p->cmd->opts[i];

		if (opt->name != NULL && !opt->not_in_file && strcmp(opt->name, name) == 0)
			return i;
	}
	return SIZE_MAX;
}

/* What the file has said of an option so far. */
struct in_file {
	const struct qp_opt_value *first;
	unsigned mistakes;
};

/* `i`: the option, or SIZE_MAX. */
static int
take_file_value(struct qp_opt_parse *p, size_t i, const struct qp_opt_value *v,
	struct in_file *so_far, struct qp_errmsg *msg)
{
	char key[QP_OPT_SHOWN_BYTES], source[512];
	const char *text;

	qp_slice_printable(qp_slice_of(v->name), key, sizeof(key));
	snprintf(source, sizeof(source), "%s:%u: %s", v->file, v->line, key);
	if (i == SIZE_MAX)
		return qp_fail(msg, QP_E_INVAL, "%s: unknown key: expected an option's name without "
			"its dashes (%s --help lists them)", source, p->cmd->name);
	if (so_far->first != NULL && !p->cmd->opts[i].repeat)
		return qp_fail(msg, QP_E_INVAL, "%s: expected once, but %s:%u has it already", source,
			so_far->first->file, so_far->first->line);
	if (so_far->first == NULL)
		so_far->first = v;
	/* The command line or the environment knows better. */
	if (p->seen[i])
		return QP_OK;
	/* It may be borrowed for the process's life; a secret is copied by its parser. */
	text = p->cmd->opts[i].secret ? v->text : qp_opt_keep(v->text);
	if (text == NULL)
		return qp_fail(msg, QP_E_NOMEM, "%s: out of memory", source);
	return qp_opt_take(p, i, QP_OPT_FROM_FILE, source, text, msg);
}

static int
take_file(struct qp_opt_parse *p)
{
	const struct qp_opt_source *source = p->cmd->source;
	const struct qp_opt_value *v = NULL;
	struct in_file *in_file, *so_far;
	struct qp_errmsg mistake;
	size_t n = 0, i;
	int err = source->read(source->ctx, &v, &n, p->msg), result;

	if (err != QP_OK || n == 0)
		return err;
	in_file = calloc(p->nopts + 1, sizeof(*in_file)); /* the last: of unknown ones */
	if (in_file == NULL)
		return qp_fail(p->msg, QP_E_NOMEM, "out of memory");
	for (size_t k = 0; k < n; k++) {
		i = find_for_file(p, v[k].name);
		so_far = &in_file[i == SIZE_MAX ? p->nopts : i];
		/* A list that is wrong all the way is no news after a while. */
		if (so_far->mistakes == MAX_MISTAKES)
			continue;
		result = take_file_value(p, i, &v[k], so_far, &mistake);
		if (result == QP_OK)
			continue;
		so_far->mistakes++;
		if (source->mistake != NULL)
			source->mistake(source->ctx, &mistake);
		if (err == QP_OK)
			err = qp_fail(p->msg, result, "%s", mistake.text);
	}
	for (i = 0; i < p->nopts; i++)
		p->seen[i] |= in_file[i].first != NULL;
	free(in_file);
	return err;
}

static int
take_fallback(struct qp_opt_parse *p, size_t i)
{
	const struct qp_opt *opt = &p->cmd->opts[i];

	if (opt->given != NULL)
		*opt->given = p->seen[i];
	return p->seen[i] || opt->fallback == NULL ? QP_OK
		: qp_opt_take(p, i, QP_OPT_FROM_DEFAULT, opt->name, opt->fallback, p->msg);
}

int
qp_opt_take_rest(struct qp_opt_parse *p)
{
	int err = QP_OK;

	for (size_t i = 0; err == QP_OK && i < p->nopts; i++)
		err = p->cmd->opts[i].name != NULL ? take_env(p, i) : QP_OK;
	if (err == QP_OK && p->cmd->source != NULL)
		err = take_file(p);
	for (size_t i = 0; err == QP_OK && i < p->nopts; i++)
		err = p->cmd->opts[i].name != NULL ? take_fallback(p, i) : QP_OK;
	return err;
}
