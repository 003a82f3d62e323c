/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests' server as a program, for measuring the client alone:
 *   loop_server PORT CERT.pem KEY.pem PSK
 * Runs until a signal ends it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cert.h"
#include "tests/client/server.h"

int
main(int argc, char **argv)
{
	struct test_server_config cfg = {0};
	struct qpc_loop loop;
	struct qp_errmsg msg = {0};
	const struct qp_secret *psk;

	if (argc != 5) {
		fprintf(stderr, "Usage: loop_server PORT CERT.pem KEY.pem PSK\n");
		return 2;
	}
	if (qp_quic_init() != QP_OK || qpc_loop_init(&loop, &msg) != QP_OK ||
		qp_cert_ensure(argv[2], argv[3], NULL, &msg) != QP_OK) {
		fprintf(stderr, "loop_server: %s\n", msg.text);
		return 1;
	}
	qpc_quic_config_default(&cfg.quic);
	cfg.cert_file = argv[2];
	cfg.key_file = argv[3];
	cfg.port = (uint16_t)atoi(argv[1]);
	psk = qp_secret_new(argv[4], strlen(argv[4]));
	cfg.policy.psks = &psk;
	cfg.policy.npsks = 1;
	if (test_server_new(&loop, &cfg) == NULL)
		return 1;
	while (qpc_loop_turn(&loop) == QP_OK)
		;
	return 1;
}
