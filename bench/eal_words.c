/* SPDX-License-Identifier: Apache-2.0 */
/* What rte_eal_init is told. Main thread, before it. */
#include "bench/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/host.h"
#include "dataplane/nic/port_setup.h"

#define ROOM (8u + 2 * QP_OPT_MAX_STRINGS)

int
qpb_eal_own(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--") == 0)
			return i;
	return 0;
}

static bool
given(char **words, int n, const char *const *names)
{
	for (int i = 1; i < n; i++)
		for (unsigned k = 0; names[k] != NULL; k++)
			if (strncmp(words[i], names[k], strlen(names[k])) == 0)
				return true;
	return false;
}

/* "0@0,1@2,2@3": lcore ids are ours to choose, CPUs are what the list names. */
static void
lcores_of(const unsigned *cpu, unsigned n, char *out, size_t cap)
{
	size_t len = (size_t)snprintf(out, cap, "--lcores=");

	for (unsigned i = 0; i < n && len < cap; i++)
		len += (size_t)snprintf(
			out + len, cap - len, "%s%u@%u", i > 0 ? "," : "", i, cpu[i]);
}

static bool
number(const char **p, unsigned long *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return false;
	*out = strtoul(*p, &end, 10);
	*p = end;
	return *out < UINT16_MAX;
}

/* "4,0-2", in that order: EAL's own -l would sort them, and let another one sleep. 0: it is no list. */
static unsigned
cpus_of(const char *text, unsigned cpu[QP_MAX_CPUS])
{
	unsigned long first, last;
	unsigned n = 0;

	for (;; text++) {
		if (!number(&text, &first))
			return 0;
		last = first;
		if (*text == '-' && (text++, !number(&text, &last)))
			return 0;
		if (last < first || last - first >= QP_MAX_CPUS - n)
			return 0;
		while (first <= last)
			cpu[n++] = (unsigned)first++;
		if (*text != ',')
			return *text == '\0' ? n : 0;
	}
}

static char *
lcores_word(const struct qpb_options *o)
{
	unsigned allowed[QP_MAX_CPUS], n = qp_host_cpus(allowed), pair[2];
	char *word = NULL, text[QP_LCORES_TEXT_BYTES * 3];

	if (o->lcores == NULL) {
		pair[0] = allowed[0];
		pair[1] = allowed[n - 1];
		lcores_of(pair, 2, text, sizeof(text));
		return strdup(text);
	}
	if (strchr(o->lcores, '@') != NULL)
		return asprintf(&word, "--lcores=%s", o->lcores) < 0 ? NULL : word;
	n = cpus_of(o->lcores, allowed);
	if (n > 0) {
		lcores_of(allowed, n, text, sizeof(text));
		return strdup(text);
	}
	return asprintf(&word, "-l%s", o->lcores) < 0 ? NULL : word;
}

/* PCI devices have to be on EAL's list; none is touched that is not named. Virtual ones come later. */
static bool
add_devices(char **words, int *n, const struct qpb_options *o)
{
	static const char *const devices[] = {"-a", "--allow", "--no-pci", "-b", "--block", NULL};
	static char no_pci[] = "--no-pci";
	bool pci = given(words, *n, devices), is_pci;

	for (unsigned i = 0; i < o->ports.n; i++) {
		if (qp_port_devargs_check(o->ports.v[i], &is_pci, NULL) < 0 || !is_pci)
			continue;
		pci = true;
		if (asprintf(&words[*n], "--allow=%s", o->ports.v[i]) < 0)
			return false;
		(*n)++;
	}
	if (!pci)
		words[(*n)++] = no_pci;
	return true;
}

char **
qpb_eal_words(int own, char **argv, const struct qpb_options *o, int *n)
{
	static const char *const lcores[] = {"-l", "-c", "--lcores", NULL};
	static const char *const prefixes[] = {"--file-prefix", "--in-memory", NULL};
	static const char *const files[] = {"--huge-unlink", "--in-memory", "--no-huge", NULL};
	static const char *const logs[] = {"--log-level", NULL};
	int taken = own > 0 ? own : 1;
	char **words = calloc((size_t)taken + ROOM, sizeof(*words)), *prefix;
	bool all = words != NULL;

	*n = 0;
	while (all && *n < taken) {
		words[*n] = strdup(argv[*n]);
		all = words[(*n)++] != NULL;
	}
	if (all && !given(words, taken, lcores))
		all = (words[(*n)++] = lcores_word(o)) != NULL;
	if (all && !given(words, taken, prefixes)) {
		all = asprintf(&prefix, "--file-prefix=quicport-bench-%d", (int)getpid()) >= 0;
		if (all)
			words[(*n)++] = prefix;
	}
	/* Else huge pages stay taken when we are gone. */
	if (all && !given(words, taken, files))
		all = (words[(*n)++] = strdup("--huge-unlink=always")) != NULL;
	/* vhost tells each message of its other end. */
	if (all && !given(words, taken, logs))
		all = (words[(*n)++] = strdup("--log-level=lib.vhost.*:warning")) != NULL;
	return all && add_devices(words, n, o) ? words : NULL;
}
