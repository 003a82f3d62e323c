/* SPDX-License-Identifier: Apache-2.0 */
/* What only makes sense together, which the options' table can't say. Main or loop thread. */
#include <string.h>

#include "common/host.h"
#include "controlplane/options.h"

/* A data plane's, a worker: 20,480 packet buffers with their heads, rings and counters. */
#define GENERATION_MIB 57u
#define SHARED_MIB 8u /* of all: what EAL keeps for itself, and what lies in pieces */
#define MEMORY_LEAST_MIB 32u
/* The port owner adds to it what ports need: packet buffers of a receive queue, and the shared block. */
#define QUEUE_MIB 40u
#define PORTS_MIB 4u

/* Whether one listener on both would be refused by the kernel, or one would take the other's. */
static bool
overlap(const struct qp_sockaddr *a, const struct qp_sockaddr *b)
{
	struct in6_addr x, y;

	return qp_sockaddr_is_any(&a->sa) || qp_sockaddr_is_any(&b->sa) ||
	       (qp_sockaddr_to_in6(&a->sa, &x) && qp_sockaddr_to_in6(&b->sa, &y) &&
		       memcmp(&x, &y, sizeof(x)) == 0);
}

const char *
qp_options_private_api_name(const struct qp_options *o)
{
	return memcmp(&o->private_api_listen, &o->control_plane_addr,
		       sizeof(o->control_plane_addr)) == 0
		       ? "--control-plane-addr"
		       : "--private-api-listen";
}

uint16_t
qp_options_public_port(const struct qp_options *o)
{
	return o->no_public_api ? 0 : (uint16_t)(qp_sockaddr_port(&o->data_plane_addr.sa) + 1);
}

static int
check_addresses(const struct qp_options *o, struct qp_errmsg *msg)
{
	uint16_t quic = qp_sockaddr_port(&o->data_plane_addr.sa);
	uint16_t api = qp_sockaddr_port(&o->private_api_listen.sa);

	if (quic == 0)
		return qp_fail(msg, QP_E_INVAL,
			"--data-plane-addr: port 0 has no meaning here: "
			"clients must know the port");
	if (api == 0)
		return qp_fail(msg, QP_E_INVAL, "%s: port 0 has no meaning here: give a port",
			qp_options_private_api_name(o));
	if (!o->no_public_api && quic == 65535)
		return qp_fail(msg, QP_E_INVAL,
			"--data-plane-addr: no port is left for the public API after 65535: choose a "
			"lower one, or add --no-public-api");
	if (!o->no_public_api && api == quic + 1 &&
		overlap(&o->private_api_listen, &o->data_plane_addr))
		return qp_fail(msg, QP_E_INVAL,
			"private and public API would share TCP port %u (the public one is at "
			"--data-plane-addr's port plus one): change %s, or add --no-public-api",
			api, qp_options_private_api_name(o));
	return 0;
}

uint32_t
qp_options_memory(const struct qp_options *o, bool *few)
{
	const uint32_t one = o->workers * GENERATION_MIB;
	const uint32_t want = one * QP_GENERATIONS + SHARED_MIB;
	const uint32_t ports = qp_nic_mode(&o->nic)
				       ? PORTS_MIB + o->nic.ports.n * o->workers * QUEUE_MIB : 0;
	struct qp_hugepages pages;
	uint64_t free_mib;

	*few = false;
	if (o->memory_mib > 0)
		return o->memory_mib;
	if (qp_host_hugepages((uint64_t)(want + ports) << 20, &pages, NULL) != QP_E_NOMEM)
		return want;
	free_mib = pages.free_bytes >> 20;
	free_mib -= free_mib < ports ? free_mib : ports;
	*few = free_mib >= one + SHARED_MIB;
	return *few ? (uint32_t)free_mib : one + SHARED_MIB;
}

static int
check_memory(const struct qp_options *o, struct qp_errmsg *msg)
{
	if (o->memory_mib == 0 || o->memory_mib >= MEMORY_LEAST_MIB)
		return 0;
	return qp_fail(msg, QP_E_INVAL, "--memory %u: expected %u MiB or more, or 0 for what %u "
		"generations of data planes need", o->memory_mib, MEMORY_LEAST_MIB, QP_GENERATIONS);
}

static int
check_authentication(const struct qp_options *o, struct qp_errmsg *msg)
{
	bool key = o->privkey != NULL || o->privkey_in_words || o->privkey_file != NULL;
	bool listed = o->file != NULL && qp_config_count(o->file).clients > 0;
	bool clients = o->client_pubkeys != NULL || o->client_pubkeys_file != NULL || listed;

	if (o->privkey_file != NULL && (o->privkey != NULL || o->privkey_in_words))
		return qp_fail(msg, QP_E_INVAL, "--privkey and --privkey-file: give one of them");
	/* A file may get its clients later, and the API has some of its own. */
	if (key && !clients && o->file == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"%s needs --client-pubkeys or --client-pubkeys-file: without them no client "
			"may come",
			o->privkey_file != NULL ? "--privkey-file" : "--privkey");
	if (clients && !key && o->client_pubkeys == NULL && o->client_pubkeys_file == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"%.200s: clients: expected the server's own key as well: add privkey or "
			"privkey-file", o->config);
	if (clients && !key)
		return qp_fail(msg, QP_E_INVAL,
			"%s needs the server's own key: add --privkey or --privkey-file",
			o->client_pubkeys != NULL ? "--client-pubkeys" : "--client-pubkeys-file");
	return 0;
}

int
qp_options_check(struct qp_options *o, struct qp_errmsg *msg)
{
	int err = check_addresses(o, msg);

	if (err == 0)
		err = qp_options_check_nic(o, msg);
	if (err == 0)
		err = check_memory(o, msg);
	if (err == 0)
		err = qp_options_check_api(o, msg);
	return err != 0 ? err : check_authentication(o, msg);
}
