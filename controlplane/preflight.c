/* SPDX-License-Identifier: Apache-2.0 */
/* `quicport preflight`: options, what its checks share, and how their findings are shown. */
#include "controlplane/preflight.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit status: nothing to change, what must change, wrong options, what should change. */
enum {
	FINE = 0,
	MUST_CHANGE = 1,
	USAGE = 2,
	SHOULD_CHANGE = 3,
};

static const char *const status_names[] = {"ok", "should", "must"};

void
qp_preflight_add(struct qp_preflight *p, enum qp_finding_status status, const char *check,
	const char *change, const char *detail, ...)
{
	struct qp_finding *f = &p->finding[p->n];
	va_list args;

	if (p->n == QP_FINDINGS)
		return;
	p->n++;
	f->status = status;
	snprintf(f->check, sizeof(f->check), "%s", check);
	snprintf(f->change, sizeof(f->change), "%s", change != NULL ? change : "");
	va_start(args, detail);
	vsnprintf(f->detail, sizeof(f->detail), detail, args);
	va_end(args);
}

static bool
read_line(const char *root, char *out, size_t cap, const char *path, va_list args)
{
	char name[PATH_MAX], whole[PATH_MAX + 64];
	FILE *f;
	bool fine;

	vsnprintf(name, sizeof(name), path, args);
	snprintf(whole, sizeof(whole), "%s/%s", root, name);
	f = fopen(whole, "re");
	if (f == NULL)
		return false;
	fine = fgets(out, (int)cap, f) != NULL;
	fclose(f);
	if (fine)
		out[strcspn(out, "\n")] = '\0';
	return fine;
}

bool
qp_preflight_text(const char *root, char *out, size_t cap, const char *path, ...)
{
	va_list args;
	bool fine;

	va_start(args, path);
	fine = read_line(root, out, cap, path, args);
	va_end(args);
	return fine;
}

long
qp_preflight_number(const char *root, long otherwise, const char *path, ...)
{
	char text[64], *end;
	va_list args;
	bool fine;
	long n;

	va_start(args, path);
	fine = read_line(root, text, sizeof(text), path, args);
	va_end(args);
	n = fine ? strtol(text, &end, 10) : 0;
	return fine && end != text ? n : otherwise;
}

bool
qp_preflight_link(const char *root, char *out, size_t cap, const char *path, ...)
{
	char name[PATH_MAX], whole[PATH_MAX + 64], target[PATH_MAX];
	const char *last;
	va_list args;
	ssize_t n;

	va_start(args, path);
	vsnprintf(name, sizeof(name), path, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "%s/%s", root, name);
	n = readlink(whole, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	last = strrchr(target, '/');
	snprintf(out, cap, "%s", last != NULL ? last + 1 : target);
	return true;
}

bool
qp_preflight_in_list(const char *list, unsigned cpu)
{
	while (*list != '\0') {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return false;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (cpu >= first && cpu <= last)
			return true;
		list = *end == ',' ? end + 1 : end;
		if (*end != ',' && *end != '\0')
			return false;
	}
	return false;
}

unsigned
qp_preflight_node(const struct qp_preflight *p, unsigned cpu)
{
	char list[1024];

	for (unsigned node = 0; node < 64; node++) {
		if (qp_preflight_text(p->sys, list, sizeof(list),
			    "devices/system/node/node%u/cpulist", node) &&
			qp_preflight_in_list(list, cpu))
			return node;
	}
	return 0;
}

static enum qp_finding_status
worst(const struct qp_preflight *p)
{
	enum qp_finding_status found = QP_FINDING_OK;

	for (unsigned i = 0; i < p->n; i++) {
		if (p->finding[i].status > found)
			found = p->finding[i].status;
	}
	return found;
}

static void
print_text(const struct qp_preflight *p)
{
	static const char *const summary[] = {"nothing to change",
		"a gateway runs so; what is marked \"should\" makes it faster",
		"what is marked \"must\" keeps a gateway from starting"};

	for (unsigned i = 0; i < p->n; i++) {
		const struct qp_finding *f = &p->finding[i];

		printf("%-7s %-14s %s\n", status_names[f->status], f->check, f->detail);
		if (f->change[0] != '\0')
			printf("%-7s %-14s   %s\n", "", "", f->change);
	}
	printf("\n%s\n", summary[worst(p)]);
}

static int
print_json(const struct qp_preflight *p)
{
	json_t *checks = json_array(), *all;

	for (unsigned i = 0; i < p->n; i++) {
		const struct qp_finding *f = &p->finding[i];

		json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s*}", "check", f->check, "status",
			status_names[f->status], "detail", f->detail, "change",
			f->change[0] != '\0' ? f->change : NULL));
	}
	all = json_pack("{s:s, s:o}", "status", status_names[worst(p)], "checks", checks);
	if (all == NULL || json_dumpf(all, stdout, JSON_INDENT(2)) != 0) {
		fprintf(stderr, "quicport preflight: out of memory\n");
		return USAGE;
	}
	json_decref(all);
	putchar('\n');
	return 0;
}

static void
parse_options(struct qp_preflight *p, bool *json, int argc, char **argv)
{
	const struct qp_opt opts[] = {
		QP_OPT_GROUP("As the gateway will get them:"),
		{.name = "port", .arg = "DEVICE", .env = "", .repeat = true,
			.help = "a dedicated port; again for each", .parse = qp_opt_nic_port,
			.value = &p->nic},
		QP_OPT_LCORES(&p->nic),
		{.name = "workers", .arg = "N", .fallback = "1", .min = 1, .max = QP_MAX_WORKERS,
			.help = "CPU cores that carry traffic", .parse = qp_opt_u32, .value = &p->workers},
		{.name = "memory", .arg = "MIB", .fallback = "0", .max = 1048576,
			.help = "hugepage memory; 0: room for four generations of data planes",
			.parse = qp_opt_u32, .value = &p->memory_mib},
		QP_OPT_GROUP("Output:"),
		{.name = "json", .env = "", .help = "one JSON object", .parse = qp_opt_flag, .value = json},
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport preflight",
		.summary = "Looks at this host as a gateway with dedicated ports would find it, and prints "
			   "what to change, with the command. Changes nothing.",
		.epilogue = "Exit status: 0 nothing to change, 3 something should change, 1 something must, "
			    "2 wrong options.\n",
		.opts = opts,
	};

	qp_opt_parse_or_exit(&cmd, argc, argv);
}

static const char *
root(const char *variable, const char *otherwise)
{
	const char *value = getenv(variable);

	return value != NULL && value[0] != '\0' ? value : otherwise;
}

int
main(int argc, char **argv)
{
	static struct qp_preflight p;
	static const int status[] = {FINE, SHOULD_CHANGE, MUST_CHANGE};
	bool json = false;

	/* For tests, and for looking at another host's copy. */
	p.sys = root("QUICPORT_SYSFS", "/sys");
	p.proc = root("QUICPORT_PROCFS", "/proc");
	parse_options(&p, &json, argc, argv);
	if (p.nic.nlcores > 0)
		p.workers = p.nic.nlcores;
	qp_preflight_host(&p);
	qp_preflight_ports(&p);
	if (!json)
		print_text(&p);
	else if (print_json(&p) != 0)
		return USAGE;
	return status[worst(&p)];
}
