/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport control-plane`: options, log, credentials, then the gateway. Every
 * mistake of the operator's ends in one line and a status that is not 0.
 */
#include <jansson.h>
#include <limits.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "common/keys.h"
#include "controlplane/gateway.h"
#include "controlplane/http.h"
#include "controlplane/instance.h"
#include "controlplane/privilege.h"
#include "controlplane/reexec.h"
#include "controlplane/stale.h"

static int
complain(const struct qp_options *o, const struct qp_errmsg *msg)
{
	/* On the terminal in any case; in the log file as well, if there is one. */
	fprintf(stderr, "quicport control-plane: %s\n", msg->text);
	if (o->log.output != NULL)
		qp_log(QP_LOG_ERROR, "cannot run", QP_LOG_STR("reason", msg->text));
	/* Another one has let us try: tunnels are better off with it. Mostly there is none. */
	qp_reexec_back();
	return 1;
}

/* A reserved port is an open file, and the usual soft limit of 1,024 is soon reached. */
static void
allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* A request's JSON may hold a PSK. */
static void
wipe_and_free(void *p)
{
	if (p != NULL)
		sodium_memzero(p, malloc_usable_size(p));
	free(p);
}

/*
 * Tried out by the control plane that runs: could this one take its place, for
 * the same gateway? Nothing is started, nothing changed.
 */
static int
probe(struct qp_options *o, const char *instance, struct qp_errmsg *msg)
{
	static const char *const programs[] = {QP_PORT_OWNER_PROGRAM, QP_DATA_PLANE_PROGRAM};
	struct qp_credentials cred;
	char name[32], path[PATH_MAX];
	uint32_t hash;
	int err = qp_privilege_check(msg);

	for (size_t i = 0; err == 0 && i < sizeof(programs) / sizeof(programs[0]); i++)
		err = qp_proc_sibling(programs[i], path, sizeof(path), msg);
	qp_instance_name(&o->data_plane_addr, qp_netns_inode(), &hash, name);
	if (err == 0 && strcmp(name, instance) != 0)
		err = qp_fail(msg, QP_E_INVAL,
			"--data-plane-addr is another one now: that is another gateway, which "
			"needs a stop and a start");
	if (err == 0)
		err = qp_credentials_load(&cred, o, msg);
	if (err == 0)
		qp_credentials_free(&cred);
	return err;
}

/* `mine`: what the one that runs listens on. */
static int
probe_listening(const struct qp_options *o, int mine, struct qp_errmsg *msg)
{
	const struct qp_sockaddr *want = &o->private_api_listen;
	struct sockaddr_storage have;
	socklen_t len = sizeof(have);
	int fd, err;

	if (getsockname(mine, (struct sockaddr *)&have, &len) == 0 && len == want->len &&
		memcmp(&have, &want->sa, len) == 0)
		return 0;
	err = qp_http_listen(&want->sa, want->len, qp_options_private_api_name(o), &fd, msg);
	if (err == 0)
		close(fd);
	return err;
}

static int
run_probe(int argc, char **argv)
{
	const int fd = atoi(argv[argc - 2]);
	const char *instance = argv[argc - 1];
	struct qp_options o;
	struct qp_errmsg msg;
	int err;

	argv[argc - 3] = NULL;
	err = qp_options_parse(&o, argc - 3, argv, &msg);
	if (err == 0)
		err = probe(&o, instance, &msg);
	if (err == 0)
		err = probe_listening(&o, fd + 1, &msg);
	dprintf(fd, "%s", err == 0 ? "R" : err == QP_OPT_DONE ? "it only prints" : msg.text);
	return err == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	struct qp_credentials cred;
	struct qp_options o;
	struct qp_errmsg msg;
	int status, err;

	json_set_alloc_funcs(malloc, wipe_and_free);
	if (qp_keys_init() != 0) {
		fprintf(stderr, "quicport control-plane: libsodium does not start\n");
		return 1;
	}
	if (argc > 3 && strcmp(argv[argc - 3], QP_PROBE_WORD) == 0)
		return run_probe(argc, argv);
	if (qp_reexec_remember(argv, &msg) != 0) {
		fprintf(stderr, "quicport control-plane: %s\n", msg.text);
		return 1;
	}
	err = qp_options_parse(&o, argc, argv, &msg);
	if (err == QP_OPT_DONE)
		return 0;
	if (err != 0) {
		fprintf(stderr, "quicport control-plane: %s\n", msg.text);
		qp_reexec_back();
		return 2;
	}
	qp_log_use_journal(sd_journal_sendv);
	if (qp_log_init(&o.log, &msg) != 0) {
		o.log.output = NULL; /* there is no log to say it in */
		return complain(&o, &msg);
	}
	if (qp_privilege_check(&msg) != 0)
		return complain(&o, &msg);
	if (qp_credentials_load(&cred, &o, &msg) != 0)
		return complain(&o, &msg);
	if (cred.psk_path[0] != '\0') {
		printf("Pre-shared key: %s%s\n", cred.psk_path,
			cred.psk_created ? " (made now)" : "");
		fflush(stdout);
	}
	allow_many_files();
	status = qp_gateway_run(&o, &cred, &msg);
	if (status == QP_GATEWAY_REPLACED) {
		qp_reexec_go(&msg);
		status = 1;
	}
	if (status != 0)
		complain(&o, &msg);
	qp_credentials_free(&cred);
	qp_options_free(&o);
	return status;
}
