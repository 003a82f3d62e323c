/* SPDX-License-Identifier: Apache-2.0 */
/* What a process's threads do at this moment, as the kernel tells. Loop thread. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/crash_report.h"
#include "controlplane/heartbeat.h"

#define MAX_THREADS 64u

/* A file of the thread, its line ends as they are, without the last; "": it may not be read. */
static void
read_file(pid_t pid, pid_t tid, const char *name, char *out, size_t cap)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, out, cap - 1);
		close(fd);
	}
	if (n < 0)
		n = 0;
	while (n > 0 && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
}

static void
describe(FILE *out, pid_t pid, pid_t tid)
{
	char name[32], wchan[64], call[128], stack[2048], *line, *rest;
	struct qp_thread_sample sample;

	if (!qp_thread_look(pid, tid, &sample))
		return;
	read_file(pid, tid, "comm", name, sizeof(name));
	read_file(pid, tid, "wchan", wchan, sizeof(wchan));
	read_file(pid, tid, "syscall", call, sizeof(call));
	read_file(pid, tid, "stack", stack, sizeof(stack));
	fprintf(out, "thread %d %s state %c cpu_ms %llu wchan %s syscall %s\n", (int)tid, name,
		sample.state, (unsigned long long)(sample.ran_ns / 1000000u),
		wchan[0] != '\0' && strcmp(wchan, "0") != 0 ? wchan : "-",
		call[0] != '\0' ? call : "-");
	for (line = strtok_r(stack, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		fprintf(out, "  %s\n", line);
}

char *
qp_threads_text(pid_t pid)
{
	char path[64], *text = NULL;
	struct dirent *e;
	size_t len;
	FILE *out;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return NULL;
	out = open_memstream(&text, &len);
	for (unsigned n = 0; out != NULL && n < MAX_THREADS && (e = readdir(dir)) != NULL;) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		describe(out, pid, (pid_t)atoi(e->d_name));
		n++;
	}
	closedir(dir);
	if (out == NULL || fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
