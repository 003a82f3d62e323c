/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_LEASES_H
#define QP_CONTROLPLANE_LEASES_H

#include <stdint.h>

#include "common/error.h"
#include "controlplane/loop.h"
#include "controlplane/state.h"

/*
 * Which client had which port when it asked for any: it gets it back as long
 * as the lease lasts, over reconnects and the gateway's restarts. A lease is a
 * preference, not a lock: who asks for the port by its number may have it while
 * its lessee is away. Owner: the loop thread. Lock: none.
 */
struct qp_leases;

#define QP_LEASES_PER_CLIENT 64u
#define QP_LEASES_MAX 16384u
#define QP_LEASE_TEXT_BYTES 320u

struct qp_leases_config {
	struct qp_state *state;  /* borrowed */
	struct qp_loop *loop;    /* NULL: the caller calls qp_leases_turn() */
	uint32_t lease_time_s;   /* after its last use; 0: no leases */
	unsigned max_per_client; /* 0: the above */
	unsigned max;            /* 0: the above */
	uint64_t (*unix_time)(void); /* seconds; NULL: the system's clock */
	uint64_t (*up_time)(void);   /* as of struct qp_wallclock */
};

/*
 * Who leases, and for what: a client with two services gets for each its own
 * port. `peer` only decides between leases that fit alike.
 */
struct qp_lessee {
	const char *client;
	const char *destination;
	const char *peer; /* address without port */
};

/* Reads what is known. QP_E_NOMEM. */
int qp_leases_new(
	const struct qp_leases_config *cfg, struct qp_leases **out, struct qp_errmsg *msg);
/* NULL is allowed. */
void qp_leases_free(struct qp_leases *l);

/* protocol: IPPROTO_TCP or IPPROTO_UDP. */

/* Ports that nobody uses now and that it had, best first; how many. */
unsigned qp_leases_find(const struct qp_leases *l, uint8_t protocol, const struct qp_lessee *who,
	uint16_t *ports, unsigned max);
/* When a port that qp_leases_find told was used last; Unix time, seconds. */
uint64_t qp_leases_used_at(const struct qp_leases *l, uint8_t protocol, uint16_t port);
/* How many ports it has in use for this service from this very address; one of them in `*port`. */
unsigned qp_leases_in_use(const struct qp_leases *l, uint8_t protocol,
	const struct qp_lessee *who, uint16_t *port);
/* Whose the port is, used or not; NULL: nobody's. */
const char *qp_leases_client(const struct qp_leases *l, uint8_t protocol, uint16_t port);
/* It has the port from now on; another's lease of it ends. */
void qp_leases_take(
	struct qp_leases *l, uint8_t protocol, uint16_t port, const struct qp_lessee *who);
/* It is not used any more; the lease time begins. */
void qp_leases_release(struct qp_leases *l, uint8_t protocol, uint16_t port);

/* What is due: leases that are over go; those in use are noted as such. */
void qp_leases_turn(struct qp_leases *l);
unsigned qp_leases_count(const struct qp_leases *l);

#endif
