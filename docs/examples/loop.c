/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same in a program that has an event loop of its own: one descriptor to
 * wait for, one function to call. Here the loop also listens to standard
 * input, and ends with it.
 *
 *	cc loop.c $(pkg-config --cflags --libs quicport) -o loop
 *	./loop gateway.example:39000 SECRET 9022 22
 */
#include <poll.h>
#include <quicport.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static void
on_open(void *user, struct qp_forward *f, const char *message)
{
	printf("open: %s (%s)\n", qp_forward_name(f), message);
	fflush(stdout);
}

static void
on_log(void *user, enum qp_log_severity severity, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

/* Returns when every forward has ended. */
static int
run(struct qp_client *client)
{
	struct pollfd fds[] = {{.fd = qp_client_fd(client), .events = POLLIN},
		{.fd = STDIN_FILENO, .events = POLLIN}};
	char c;

	while (!qp_client_done(client)) {
		if (poll(fds, 2, -1) < 0)
			return 1;
		if (fds[1].revents != 0 && read(STDIN_FILENO, &c, 1) <= 0) {
			fds[1].fd = -1;
			qp_client_stop(client);
		}
		if (qp_client_process(client) != 0)
			return 1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct qp_client_options o = QP_CLIENT_OPTIONS;
	struct qp_forward_options f = QP_FORWARD_OPTIONS;
	struct qp_client *client;
	struct qp_error error;
	int status = 1;

	if (argc != 5) {
		fprintf(stderr, "usage: %s GATEWAY:PORT PSK GATEWAY-PORT LOCAL-PORT\n", argv[0]);
		return 2;
	}
	o.server = argv[1];
	o.identity.psk = argv[2];
	o.insecure = true;
	o.callbacks.forward_open = on_open;
	o.callbacks.log = on_log;
	f.remote = argv[3];
	f.local = argv[4];
	if (qp_client_new(&o, &client, &error) != 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (qp_client_add(client, &f, NULL, &error) == 0)
		status = run(client);
	else
		fprintf(stderr, "%s\n", error.text);
	qp_client_free(client);
	return status;
}
