/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport status`: what the clients of this user are doing. Main thread.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client/commands.h"
#include "client/options.h"
#include "client/status.h"
#include "common/opt.h"

#define ANSWER_BYTES (4u << 20)
#define PATIENCE_S 2

/* A client's answer; NULL: nobody is there (the socket of a dead process goes), or it does not answer. */
static json_t *
ask(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *text = malloc(ANSWER_BYTES);
	json_t *answer = NULL;
	size_t len = 0;
	ssize_t n;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || text == NULL)
		goto out;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
		if (errno == ECONNREFUSED)
			(void)unlink(path);
		goto out;
	}
	while (len < ANSWER_BYTES && (n = recv(fd, text + len, ANSWER_BYTES - len, 0)) > 0)
		len += (size_t)n;
	answer = json_loadb(text, len, 0, NULL);
out:
	if (fd >= 0)
		close(fd);
	free(text);
	return answer;
}

/* The answers of all clients, or of the one with this process number. */
static json_t *
ask_all(const char *folder, const char *pid)
{
	json_t *answers = json_array(), *one;
	DIR *dir = opendir(folder);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char path[QPC_STATUS_PATH_BYTES], wanted[64];

		if (strncmp(entry->d_name, "client-", 7) != 0 || strlen(entry->d_name) > 22)
			continue;
		snprintf(wanted, sizeof(wanted), "client-%s.sock", pid != NULL ? pid : "");
		if (pid != NULL && strcmp(entry->d_name, wanted) != 0)
			continue;
		snprintf(path, sizeof(path), "%.80s/%.24s", folder, entry->d_name);
		one = ask(path);
		if (one != NULL)
			json_array_append_new(answers, one);
	}
	if (dir != NULL)
		closedir(dir);
	return answers;
}

static const char *
text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text != NULL ? text : "";
}

static unsigned long long
number_of(const json_t *row, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(row, key));
}

/* "12.3M" */
static const char *
short_bytes(unsigned long long n, char out[16])
{
	static const char units[] = " kMGT";
	double v = (double)n;
	unsigned u = 0;

	while (v >= 999.5 && u < 4) {
		v /= 1000;
		u++;
	}
	snprintf(out, 16, v < 9.95 && u > 0 ? "%.1f%c" : "%.0f%c", v, units[u]);
	return out;
}

static void
print_client(const json_t *client)
{
	const json_t *row;
	size_t i;

	printf("client %llu%s%s\n", number_of(client, "pid"),
		text_of(client, "config")[0] != '\0' ? ", " : "", text_of(client, "config"));
	printf("  %-16s %-10s %-22s %-18s %6s %6s %6s\n", "NAME", "STATE", "GATEWAY", "FORWARD", "CONNS",
		"IN", "OUT");
	json_array_foreach(json_object_get(client, "forwards"), i, row) {
		bool remote = strcmp(text_of(row, "kind"), "remote") == 0;
		char in[16], out[16], ends[160];

		snprintf(ends, sizeof(ends), "%s>%s", text_of(row, remote ? "remote" : "local"),
			text_of(row, remote ? "local" : "remote"));
		printf("  %-16s %-10s %-22s %-18s %6llu %6s %6s\n", text_of(row, "name"),
			text_of(row, "state"), text_of(row, "server"), ends,
			number_of(row, "connections_active"), short_bytes(number_of(row, "bytes_in"), in),
			short_bytes(number_of(row, "bytes_out"), out));
		if (text_of(row, "error")[0] != '\0')
			printf("  %-16s %s\n", "", text_of(row, "error"));
	}
}

static int
print_answers(const json_t *answers, bool json)
{
	const json_t *client;
	size_t i;

	if (json) {
		json_dumpf(answers, stdout, JSON_INDENT(2));
		putchar('\n');
		return QPC_EXIT_OK;
	}
	json_array_foreach(answers, i, client)
		print_client(client);
	if (json_array_size(answers) > 0)
		return QPC_EXIT_OK;
	fprintf(stderr, "quicport status: no client of this user is running\n");
	return QPC_EXIT_FAILED;
}

int
qpc_command_status(int argc, char **argv)
{
	struct qp_opt_strings pids = {0};
	bool json = false;
	const struct qp_opt opts[] = {
		{.name = "json", .env = "", .help = "for programs", .parse = qp_opt_flag, .value = &json},
		{0},
	};
	const struct qp_opt_command cmd = {
		.name = "quicport status",
		.summary = "Shows what this user's running clients do, or one of them by its process "
			   "number.",
		.args = "[PID]",
		.epilogue = "Exit status: 0, or 1 when no client is running.\n",
		.opts = opts,
		.positional = &pids,
	};
	char folder[QPC_STATUS_PATH_BYTES];
	struct qp_errmsg msg = {""};
	json_t *answers;
	int status, err;

	qp_opt_parse_or_exit(&cmd, argc, argv);
	err = pids.n > 1 ? qp_fail(&msg, QP_E_INVAL, "one process number at most") :
			   qpc_status_folder(folder, &msg);
	if (err != QP_OK) {
		fprintf(stderr, "quicport status: %s\n", msg.text);
		return err == QP_E_INVAL ? QPC_EXIT_USAGE : QPC_EXIT_FAILED;
	}
	answers = ask_all(folder, pids.n > 0 ? pids.v[0] : NULL);
	status = print_answers(answers, json);
	json_decref(answers);
	return status;
}
