/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_CONTROLPLANE_WORLD_H
#define QP_TESTS_CONTROLPLANE_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/ipc.h"

/*
 * A host with one or more gateways whose data planes are fakes: the real
 * control plane and port owner in a network namespace of the test's own. What
 * fails ends the test with a line that says where.
 */
struct gw {
	pid_t pid; /* the control plane; 0: not running */
	uint16_t port; /* QUIC, and private API */
	char log[256]; /* its output */
	int brain; /* to the fake data plane's latest process; -1: none yet */
	uint32_t server_id;
};

/* A fresh namespace, a folder with the programs, a configuration folder. */
void world_open(void);
/* Kills what is left and removes the folder. */
void world_close(void);
/* Its folder; files in it are the test's. */
const char *world_dir(void);

/* Starts a gateway on 127.0.0.1:port with more arguments (NULL ends them). Does not wait. */
void gw_start(struct gw *gw, unsigned port, ...) __attribute__((sentinel));
/* Until a data plane has attached, got its CONFIG (returned), and the gateway serves. */
struct qp_msg_config gw_wait_ready(struct gw *gw);
/* The next data plane's connection. */
void gw_wait_brain(struct gw *gw);
/* Sends a signal, waits until the control plane has ended, returns its exit status (or -signal). */
int gw_end(struct gw *gw, int signum, unsigned *took_ms);
/* Waits for an end that comes by itself. */
int gw_wait_end(struct gw *gw, unsigned timeout_ms);

/* To the control plane, as if from the data plane's worker 0. */
void gw_send(struct gw *gw, const struct qp_msg *m);
/* The next message for the data plane, which must be of this type. */
struct qp_msg gw_expect(struct gw *gw, uint16_t type);
/* Nothing arrives for a while. */
bool gw_silent(struct gw *gw, unsigned ms);

/* An HTTP request to the private API: the status; `body` gets the rest. */
int gw_http(struct gw *gw, const char *method, const char *path, const char *request_body,
	char *body, size_t cap);
/* The value of a metric without labels (or with, as in the text); -1: not there. */
double gw_metric(struct gw *gw, const char *name);
pid_t gw_data_plane_pid(struct gw *gw);

/* Processes named so whose command line names an instance of this world's gateways. */
unsigned world_processes(const char *program);
/* Until `condition(ctx)`, at most `ms`. */
bool world_until(bool (*condition)(void *ctx), void *ctx, unsigned ms);
uint64_t world_now_ms(void);
/* The run folder of the gateway at `port`, by its lock file; false: none. */
bool world_run_dir(uint16_t port, char *path, size_t cap);
bool world_log_has(const struct gw *gw, const char *text);
/* Whether a plain socket of the host can bind this TCP port on all addresses. */
bool world_can_bind(uint16_t port);

#endif
