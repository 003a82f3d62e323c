/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines: argp takes the words apart, this file adds errors that fit a
 * line. What the words leave open is in opt_rest.c, --help in opt_help.c, the
 * parsers of single values are in opt_parsers.c. At the start of a process.
 */
#include "common/opt_impl.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static int
take_option(struct qp_opt_parse *p, size_t i, char *arg)
{
	const struct qp_opt *opt = &p->cmd->opts[i];
	char source[QP_OPT_NAME_BYTES + 2];
	int err;

	snprintf(source, sizeof(source), "--%s", opt->name);
	if (p->seen[i] && !opt->repeat && opt->arg != NULL)
		return qp_fail(p->msg, QP_E_INVAL, "%s: given more than once", source);
	p->seen[i] = true;
	if (opt->secret && qp_opt_is_again(p))
		return QP_OK;
	err = qp_opt_take(p, i, QP_OPT_FROM_LINE, source, opt->arg == NULL ? "1" : arg, p->msg);
	/* Other users of the machine can read a command line. */
	if (opt->secret && arg != NULL)
		sodium_memzero(arg, strlen(arg));
	return err;
}

/* How many options a long name, whole or shortened, may mean; `*found` is one of them. */
static unsigned
match_long(const struct qp_opt_parse *p, struct qp_slice name, const struct qp_opt **found)
{
	static const struct qp_opt own[] = {{.name = "help"}, {.name = "version"}};
	unsigned n = 0;

	for (size_t i = 0; i < p->nopts + 2; i++) {
		const struct qp_opt *opt = i < p->nopts ? &p->cmd->opts[i] : &own[i - p->nopts];

		if (opt->name == NULL || strncmp(opt->name, name.ptr, name.len) != 0)
			continue;
		*found = opt;
		n++;
		if (opt->name[name.len] == '\0')
			return 1;
	}
	return n;
}

static int
explain_long(struct qp_opt_parse *p, const char *arg)
{
	struct qp_slice name = {arg + 2, strcspn(arg + 2, "=")};
	const struct qp_opt *opt = NULL;
	char shown[QP_OPT_SHOWN_BYTES];
	unsigned n = match_long(p, name, &opt);

	qp_slice_printable((struct qp_slice) {arg, name.len + 2}, shown, sizeof(shown));
	if (n == 0)
		return qp_fail(p->msg, QP_E_INVAL, "unknown option '%s' (%s --help lists them)",
			shown, p->cmd->name);
	if (n > 1)
		return qp_fail(p->msg, QP_E_INVAL,
			"option '%s' is short for more than one (%s --help lists them)", shown,
			p->cmd->name);
	if (opt->arg == NULL)
		return qp_fail(p->msg, QP_E_INVAL, "--%s takes no value", opt->name);
	return qp_fail(p->msg, QP_E_INVAL, "--%s needs a value: --%s %s", opt->name, opt->name,
		opt->arg);
}

/* A cluster of letters: the first that is unknown, else the one whose value is missing. */
static int
explain_short(struct qp_opt_parse *p, const char *arg)
{
	for (const char *c = arg + 1; *c != '\0'; c++) {
		const struct qp_opt *opt = NULL;
		char shown[QP_OPT_SHOWN_BYTES];

		for (size_t i = 0; i < p->nopts; i++) {
			if (p->cmd->opts[i].name != NULL && p->cmd->opts[i].letter == *c)
				opt = &p->cmd->opts[i];
		}
		if (opt == NULL && *c != QP_OPT_KEY_HELP && *c != QP_OPT_KEY_VERSION) {
			qp_slice_printable((struct qp_slice) {c, 1}, shown, sizeof(shown));
			return qp_fail(p->msg, QP_E_INVAL,
				"unknown option '-%s' (%s --help lists them)", shown, p->cmd->name);
		}
		if (opt != NULL && opt->arg != NULL)
			return qp_fail(p->msg, QP_E_INVAL, "-%c needs a value: -%c %s", *c, *c,
				opt->arg);
	}
	return qp_fail(p->msg, QP_E_INVAL, "bad option '%s' (%s --help lists them)", arg,
		p->cmd->name);
}

/* argp only tells that it failed; the word at fault is the one that it took last. */
static int
explain_failure(struct qp_opt_parse *p, const struct argp_state *state)
{
	const char *last = state->next > 0 ? state->argv[state->next - 1] : "";

	if (strncmp(last, "--", 2) == 0)
		return explain_long(p, last);
	/* In the middle of a cluster of letters, argp has not gone past the word yet. */
	if (state->next < state->argc && (last[0] != '-' || state->next <= 1))
		last = state->argv[state->next];
	return explain_short(p, last);
}

static int
take_positional(struct qp_opt_parse *p, char *arg)
{
	struct qp_opt_strings *list = p->cmd->positional;
	char shown[QP_OPT_SHOWN_BYTES];

	qp_slice_printable(qp_slice_of(arg), shown, sizeof(shown));
	if (list == NULL)
		return qp_fail(p->msg, QP_E_INVAL, "unexpected argument '%s' (%s --help)", shown,
			p->cmd->name);
	if (list->n == QP_OPT_MAX_STRINGS)
		return qp_fail(p->msg, QP_E_INVAL, "argument '%s': at most %u are taken", shown,
			QP_OPT_MAX_STRINGS);
	list->v[list->n++] = arg;
	return QP_OK;
}

static size_t
key_to_index(const struct qp_opt_parse *p, int key)
{
	for (size_t i = 0; i < p->nopts; i++) {
		if (p->cmd->opts[i].name != NULL && p->cmd->opts[i].letter != 0 &&
			p->cmd->opts[i].letter == key)
			return i;
	}
	return key >= QP_OPT_KEY_FIRST && (size_t)(key - QP_OPT_KEY_FIRST) < p->nopts ?
		       (size_t)(key - QP_OPT_KEY_FIRST) : p->nopts;
}

static error_t
on_key(int key, char *arg, struct argp_state *state)
{
	struct qp_opt_parse *p = state->input;
	size_t i;

	if (key == ARGP_KEY_ERROR) {
		if (p->result == QP_OK)
			p->result = explain_failure(p, state);
		return 0;
	}
	if (key == ARGP_KEY_ARG) {
		p->result = take_positional(p, arg);
		return p->result == QP_OK ? 0 : EINVAL;
	}
	i = key_to_index(p, key);
	if (i < p->nopts) {
		p->result = take_option(p, i, arg);
		return p->result == QP_OK ? 0 : EINVAL;
	}
	if (key != QP_OPT_KEY_HELP && key != QP_OPT_KEY_VERSION)
		return ARGP_ERR_UNKNOWN;
	if (key == QP_OPT_KEY_HELP)
		qp_opt_help(p->cmd, stdout);
	else
		printf("%s %s\n", p->cmd->name, QP_VERSION);
	p->result = QP_OPT_DONE;
	return EINVAL; /* the way to end argp's loop */
}

static int
run_argp(struct qp_opt_parse *p, struct argp_option *options, int argc, char **argv)
{
	struct argp argp = {.options = options, .parser = on_key};
	/* argp reorders the words, which the caller may not expect. */
	char **words = calloc((size_t)argc + 1, sizeof(*words));
	error_t err;

	if (words == NULL)
		return qp_fail(p->msg, QP_E_NOMEM, "out of memory");
	memcpy(words, argv, (size_t)argc * sizeof(*words));
	err = argp_parse(&argp, argc, words, ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_NO_HELP, NULL, p);
	free(words);
	if (err != 0 && p->result == QP_OK)
		p->result = qp_fail(p->msg, QP_E_INVAL, "cannot read the command line: %s",
			strerror(err));
	return p->result;
}

int
qp_opt_parse(const struct qp_opt_command *cmd, int argc, char **argv, struct qp_errmsg *msg)
{
	struct qp_opt_parse p = {.cmd = cmd, .nopts = qp_opt_count(cmd->opts), .msg = msg};
	struct argp_option *options = qp_opt_argp_make(cmd->opts, p.nopts);
	int err;

	p.seen = calloc(p.nopts + 1, sizeof(*p.seen));
	if (options == NULL || p.seen == NULL)
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	else
		err = run_argp(&p, options, argc, argv);
	if (err == QP_OK)
		err = qp_opt_take_rest(&p);
	free(p.seen);
	qp_opt_argp_free(options);
	return err;
}

void
qp_opt_parse_or_exit(const struct qp_opt_command *cmd, int argc, char **argv)
{
	struct qp_errmsg msg;
	int err = qp_opt_parse(cmd, argc, argv, &msg);

	if (err == QP_OPT_DONE)
		exit(EXIT_SUCCESS);
	if (err != QP_OK) {
		fprintf(stderr, "%s: %s\n", cmd->name, msg.text);
		exit(2);
	}
}

/* Words of one of these options; 0: it is none of them. */
static int
option_words(const char *word, const char *const *valued, const char *const *flags)
{
	for (; *valued != NULL; valued++) {
		size_t len = strlen(*valued);

		if (strncmp(word, *valued, len) == 0 && word[len] == '=')
			return 1;
		if (strcmp(word, *valued) == 0)
			return 2;
	}
	for (; *flags != NULL; flags++) {
		if (strcmp(word, *flags) == 0)
			return 1;
	}
	return 0;
}

char *
qp_opt_command_first(int argc, char **argv, const char *const *valued, const char *const *flags)
{
	int at = 0, words;
	char *command;

	while (at < argc && (words = option_words(argv[at], valued, flags)) > 0)
		at += words;
	if (at >= argc)
		return NULL;
	command = argv[at];
	memmove(&argv[1], &argv[0], (size_t)at * sizeof(argv[0]));
	argv[0] = command;
	return command;
}
