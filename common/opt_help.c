/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --help: the options in argp's form, laid out by argp, with each one's
 * default and environment variable. At the start of a process.
 */
#include "common/opt_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ENV_PREFIX "QUICPORT_"
/* A space at which argp must not break a line; made a plain one afterwards. */
#define NO_BREAK "\x1f"
/* Where argp begins what it says of an option. */
#define DOC_COLUMN 29

size_t
qp_opt_count(const struct qp_opt *opts)
{
	size_t n = 0;

	while (opts[n].name != NULL || opts[n].help != NULL)
		n++;
	return n;
}

void
qp_opt_env_name(const struct qp_opt *opt, char out[QP_OPT_NAME_BYTES])
{
	size_t n;

	if (opt->env != NULL) {
		snprintf(out, QP_OPT_NAME_BYTES, "%s", opt->env);
		return;
	}
	n = (size_t)snprintf(out, QP_OPT_NAME_BYTES, ENV_PREFIX "%s", opt->name);
	for (size_t i = 0; i < n && i < QP_OPT_NAME_BYTES - 1; i++)
		out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static char *
describe(const struct qp_opt *opt)
{
	char env[QP_OPT_NAME_BYTES], variable[QP_OPT_NAME_BYTES + 16] = "", fallback[128] = "";
	char *doc;

	qp_opt_env_name(opt, env);
	if (env[0] != '\0')
		snprintf(variable, sizeof(variable), " [env:" NO_BREAK "%s]", env);
	if (opt->fallback != NULL)
		snprintf(fallback, sizeof(fallback), " [default:" NO_BREAK "%s]", opt->fallback);
	return asprintf(&doc, "%s%s%s%s", opt->help == NULL ? "" : opt->help,
		opt->repeat ? " (may be repeated)" : "", fallback, variable) < 0 ? NULL : doc;
}

void
qp_opt_argp_free(struct argp_option *options)
{
	if (options == NULL)
		return;
	for (struct argp_option *o = options; o->name != NULL || o->doc != NULL; o++)
		free((char *)(uintptr_t)o->doc);
	free(options);
}

struct argp_option *
qp_opt_argp_make(const struct qp_opt *opts, size_t n)
{
	struct argp_option *out = calloc(n + 3, sizeof(*out));

	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		out[i].name = opts[i].name;
		out[i].key = opts[i].letter != 0 ? opts[i].letter : QP_OPT_KEY_FIRST + (int)i;
		if (opts[i].name == NULL)
			out[i].key = 0;
		out[i].arg = opts[i].arg;
		out[i].flags = opts[i].hidden ? OPTION_HIDDEN : 0;
		out[i].doc = opts[i].name == NULL ? strdup(opts[i].help) : describe(&opts[i]);
	}
	out[n] = (struct argp_option) {.name = "help", .key = QP_OPT_KEY_HELP, .group = -1,
		.doc = strdup("show this and exit")};
	out[n + 1] = (struct argp_option) {.name = "version", .key = QP_OPT_KEY_VERSION, .group = -1,
		.doc = strdup("show the version and exit")};
	for (size_t i = 0; i < n + 2; i++) {
		if (out[i].doc == NULL) {
			out[i].name = NULL; /* ends the list for free_argp_options */
			qp_opt_argp_free(out);
			return NULL;
		}
	}
	return out;
}

/* argp's page as it stands. NULL: out of memory. */
static char *
make_page(const struct qp_opt_command *cmd, struct argp *argp)
{
	char *doc = NULL, *page = NULL, *name = strdup(cmd->name);
	size_t len;
	FILE *f = open_memstream(&page, &len);

	if (f != NULL && name != NULL &&
		asprintf(&doc, "%s\v%s", cmd->summary == NULL ? "" : cmd->summary,
			cmd->epilogue == NULL ? "" : cmd->epilogue) >= 0) {
		argp->doc = doc;
		argp_help(argp, f, ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC, name);
		free(doc);
	}
	if (f != NULL)
		fclose(f);
	free(name);
	return page;
}

/* How many of a line's first characters argp should not have written before an option's names. */
static size_t
hole_in(const char *line, size_t len)
{
	size_t spaces = strspn(line, " ");

	if (len > 8 && strncmp(line, "  -", 3) == 0 && strncmp(line + 4, ",  ", 3) == 0)
		return 5 + strspn(line + 5, " ");
	return spaces > DOC_COLUMN && spaces < len ? spaces : 0;
}

/*
 * Where an option's names end just beyond what argp has in its buffer, it breaks the line before
 * them: "-R,", or nothing, a hole, the names, and text at the margin there or some lines below,
 * where only a page's last words may be. Made good here.
 */
static void
print_page(const char *page, FILE *to)
{
	bool in_options = false, after_empty = false;

	for (const char *line = page; *line != '\0';) {
		size_t len = strcspn(line, "\n"), hole = hole_in(line, len);
		bool blank = strspn(line, " ") == len;

		in_options |= strncmp(line, "  -", 3) == 0 || strncmp(line, "      --", 8) == 0;
		if (after_empty && !blank && line[0] != ' ')
			in_options = false; /* the epilogue */
		if (hole > 0 && line[2] == '-')
			fprintf(to, "%.5s ", line);
		else if (hole > 0)
			fprintf(to, "%*s", strncmp(line + hole, "--", 2) == 0 ? 6 : DOC_COLUMN, "");
		else if (in_options && !blank && !after_empty && line[0] != ' ')
			fprintf(to, "%*s", DOC_COLUMN, "");
		if (len == 0 || !blank)
			fprintf(to, "%.*s\n", (int)(len - hole), line + hole);
		after_empty = len == 0;
		line += len + (line[len] == '\n');
	}
}

void
qp_opt_help(const struct qp_opt_command *cmd, FILE *to)
{
	struct argp_option *options = qp_opt_argp_make(cmd->opts, qp_opt_count(cmd->opts));
	struct argp argp = {.options = options, .args_doc = cmd->args};
	char *page;

	/* Not the note, on each page, that letters take the same values as long names. */
	setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);
	page = options == NULL ? NULL : make_page(cmd, &argp);
	if (page != NULL) {
		for (char *c = page; (c = strchr(c, NO_BREAK[0])) != NULL;)
			*c = ' ';
		print_page(page, to);
	}
	free(page);
	qp_opt_argp_free(options);
}
