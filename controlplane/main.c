/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `quicport control-plane`: options, log, credentials, then the gateway. Every
 * mistake of the operator's ends in one line and a status that is not 0.
 */
#include <jansson.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "common/keys.h"
#include "controlplane/gateway.h"
#include "controlplane/privilege.h"

static int
complain(const struct qp_options *o, const struct qp_errmsg *msg)
{
	/* On the terminal in any case; in the log file as well, if there is one. */
	fprintf(stderr, "quicport control-plane: %s\n", msg->text);
	if (o->log.output != NULL)
		qp_log(QP_LOG_ERROR, "cannot run", QP_LOG_STR("reason", msg->text));
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

int
main(int argc, char **argv)
{
	struct qp_credentials cred;
	struct qp_options o;
	struct qp_errmsg msg;
	int status;

	json_set_alloc_funcs(malloc, wipe_and_free);
	if (qp_keys_init() != 0) {
		fprintf(stderr, "quicport control-plane: libsodium does not start\n");
		return 1;
	}
	qp_options_parse_or_exit(&o, argc, argv);
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
	if (status != 0)
		complain(&o, &msg);
	qp_credentials_free(&cred);
	qp_options_free(&o);
	return status;
}
