/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that makes one of its ports reachable at a gateway, and goes on
 * with its own work meanwhile: the client has a thread of its own.
 *
 *	cc thread.c $(pkg-config --cflags --libs quicport) -o thread
 *	./thread gateway.example:39000 SECRET 9022 22
 */
#include <quicport.h>
#include <stdio.h>
#include <unistd.h>

static void
on_open(void *user, struct qp_forward *f, const char *message)
{
	printf("open: %s (%s)\n", qp_forward_name(f), message);
	fflush(stdout);
}

static void
on_closed(void *user, struct qp_forward *f, const struct qp_error *why, int64_t retry_ms)
{
	if (why->code != QP_OK)
		fprintf(stderr, "closed: %s\n", why->text);
	if (retry_ms >= 0)
		fprintf(stderr, "again in %lld ms\n", (long long)retry_ms);
}

int
main(int argc, char **argv)
{
	struct qp_client_options o = QP_CLIENT_OPTIONS;
	struct qp_forward_options f = QP_FORWARD_OPTIONS;
	struct qp_forward_stats stats = {.size = sizeof(stats)};
	struct qp_forward *forward;
	struct qp_client *client;
	struct qp_error error;

	if (argc != 5) {
		fprintf(stderr, "usage: %s GATEWAY:PORT PSK GATEWAY-PORT LOCAL-PORT\n", argv[0]);
		return 2;
	}
	o.server = argv[1];
	o.identity.psk = argv[2];
	o.insecure = true; /* a program for people asks in the `trust` callback instead */
	o.callbacks.forward_open = on_open;
	o.callbacks.closed = on_closed;
	f.remote = argv[3];
	f.local = argv[4];
	if (qp_client_new(&o, &client, &error) != 0) {
		fprintf(stderr, "%s\n", error.text);
		return 1;
	}
	if (qp_client_add(client, &f, &forward, &error) != 0 || qp_client_start(client, &error) != 0) {
		fprintf(stderr, "%s\n", error.text);
		qp_client_free(client);
		return 1;
	}

	getchar(); /* the program's own work: until somebody presses Enter */

	qp_forward_get_stats(client, forward, &stats);
	printf("%llu connections, %llu bytes in, %llu bytes out\n",
		(unsigned long long)stats.connections, (unsigned long long)stats.bytes_to_local,
		(unsigned long long)stats.bytes_from_local);
	qp_client_stop(client);
	while (!qp_client_done(client))
		usleep(1000);
	qp_client_free(client);
	return 0;
}
