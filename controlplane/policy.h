/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_POLICY_H
#define QP_CONTROLPLANE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/ipc.h"
#include "common/keys.h"
#include "controlplane/allow.h"

/*
 * Who may come, and what each may do. A policy is built whole from the
 * configuration, then only read; a new one takes its place at a reload, so that
 * a bad file changes nothing. Owner: the loop thread. Lock: none.
 */
struct qp_policy;

/*
 * With the NUL. Letters, digits and "._-@"; a name that was made of a key has
 * Base64's + and / as well.
 */
#define QP_POLICY_NAME_BYTES 64u
#define QP_POLICY_PSKS 256u      /* each is tried, so their number is bounded */

struct qp_port_range {
	uint8_t protocol; /* 1 TCP, 2 UDP, 0 both */
	uint16_t first, last;
};

/* Of a client, whatever tunnels it has; 0: no limit. */
struct qp_policy_limits {
	uint32_t tunnels;
	uint32_t forwards;    /* open ports and local forwards */
	uint32_t conns;       /* outside connections and UDP flows at once */
	uint32_t conns_per_s;
	uint64_t in_bytes_per_s;  /* payload, outside to tunnel */
	uint64_t out_bytes_per_s;
};

/* What a client or a group may do. Arrays are the policy's. */
struct qp_grants {
	bool any_port;
	unsigned nports;
	const struct qp_port_range *ports; /* sorted by nothing: few */
	const struct qp_allow *locals;     /* NULL: no local forward */
	unsigned nsources;                 /* 0: outside users may come from anywhere */
	const struct qp_msg_network *sources; /* QP_CLIENT_MAX_SOURCES at most */
	struct qp_policy_limits limits;
	uint64_t expires_at; /* Unix time, seconds; 0: never */
};

enum qp_client_kind {
	QP_CLIENT_KEY, /* X25519 */
	QP_CLIENT_PSK,
};

struct qp_policy_client {
	uint32_t id; /* not 0; follows from the name, so that it outlives reloads and restarts */
	enum qp_client_kind kind;
	char name[QP_POLICY_NAME_BYTES];
	const char *group;  /* its name, or NULL */
	const char *origin; /* "FILE:LINE", "--client-pubkeys", "api": for people */
	struct qp_grants grants; /* the group's, with the client's own instead where given */
};

/* What decides when neither client nor group says anything. Borrowed until qp_policy_free. */
struct qp_policy_defaults {
	struct qp_grants grants;
};

/* NULL when out of memory. */
struct qp_policy *qp_policy_new(void);
/* NULL is allowed. Secrets are wiped. */
void qp_policy_free(struct qp_policy *p);

/*
 * Builders: `grants` is copied, its arrays too. `name` NULL: one is made
 * of the key's first characters (as keys without a name in --client-pubkeys).
 * `grants.locals` may be short: no more of its rules than `n` are read.
 * QP_E_INVAL with a line that names both places when a name or a key is there
 * already; QP_E_FULL beyond QP_POLICY_PSKS. `group`, `origin`: copied; may be NULL.
 */
int qp_policy_add_key(struct qp_policy *p, const char *name, const char *group,
	const char *origin, const uint8_t key[QP_KEY_BYTES], const struct qp_grants *grants,
	struct qp_errmsg *msg);
/* One more key of the client `name`, which exists (key roll-over). */
int qp_policy_add_another_key(struct qp_policy *p, const char *name, const char *origin,
	const uint8_t key[QP_KEY_BYTES], struct qp_errmsg *msg);
/* Takes `secret` over, also on failure. */
int qp_policy_add_psk(struct qp_policy *p, const char *name, const char *group,
	const char *origin, struct qp_secret *secret, const struct qp_grants *grants,
	struct qp_errmsg *msg);

/* In constant time, whatever their number; NULL when unknown. Expiry is the caller's to check. */
const struct qp_policy_client *qp_policy_by_key(
	const struct qp_policy *p, const uint8_t key[QP_KEY_BYTES]);
const struct qp_policy_client *qp_policy_by_name(const struct qp_policy *p, const char *name);
const struct qp_policy_client *qp_policy_by_id(const struct qp_policy *p, uint32_t id);
/* PSKs, to be tried one by one: i < qp_policy_npsks(). */
unsigned qp_policy_npsks(const struct qp_policy *p);
const struct qp_policy_client *qp_policy_psk(
	const struct qp_policy *p, unsigned i, const struct qp_secret **secret);
/* The same, for struct qp_auth_policy: the secrets in that order, and its question by key. */
const struct qp_secret *const *qp_policy_secrets(const struct qp_policy *p);
bool qp_policy_knows(const void *policy, const uint8_t key[QP_KEY_BYTES]);
/* NULL: the client has none. */
const struct qp_secret *qp_policy_secret_of(
	const struct qp_policy *p, const struct qp_policy_client *c);
/* All clients, sorted by name: i < qp_policy_count(). For lists with paging. */
unsigned qp_policy_count(const struct qp_policy *p);
const struct qp_policy_client *qp_policy_at(const struct qp_policy *p, unsigned i);

/* Pure. `protocol` 1 TCP, 2 UDP. Expiry: at `now` it is over. */
bool qp_port_range_has(const struct qp_port_range *r, uint8_t protocol, uint16_t port);
bool qp_grants_allow_port(const struct qp_grants *g, uint8_t protocol, uint16_t port);
bool qp_grants_expired(const struct qp_grants *g, uint64_t now_unix_s);
/*
 * "9000-9099/tcp", "53/udp", "8080", "any", "none"; several by comma.
 * QP_E_INVAL, and msg says what was expected. `*any` and the list are added to.
 */
int qp_port_ranges_parse(const char *text, bool *any, struct qp_port_range **list, unsigned *n,
	struct qp_errmsg *msg);
/* "198.51.100.0/24", "2001:db8::/32", one address. */
int qp_network_parse(const char *text, struct qp_msg_network *out, struct qp_errmsg *msg);

#endif
