/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration says of ports, networks and destinations, and what it then allows. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "controlplane/policy.h"

static void
fuzz_ports(const char *text)
{
	struct qp_port_range *list = NULL;
	struct qp_grants g = {0};
	struct qp_errmsg msg = {""};
	int err = qp_port_ranges_parse(text, &g.any_port, &list, &g.nports, &msg);

	FUZZ_CHECK(err == QP_OK || (err == QP_E_INVAL && msg.text[0] != '\0'));
	g.ports = list;
	for (unsigned i = 0; i < g.nports; i++) {
		const struct qp_port_range *r = &list[i];

		FUZZ_CHECK(r->first > 0 && r->first <= r->last && r->protocol <= 2);
		FUZZ_CHECK(r->protocol == 2 || qp_grants_allow_port(&g, 1, r->first));
		FUZZ_CHECK(r->protocol == 1 || qp_grants_allow_port(&g, 2, r->last));
	}
	FUZZ_CHECK(g.any_port || !qp_grants_allow_port(&g, 1, 0));
	if (g.nports == 0 && !g.any_port)
		FUZZ_CHECK(!qp_grants_allow_port(&g, 1, 80));
	free(list);
}

static void
fuzz_network(const char *text)
{
	struct qp_msg_network net;
	struct qp_errmsg msg = {""};

	if (qp_network_parse(text, &net, &msg) != QP_OK) {
		FUZZ_CHECK(msg.text[0] != '\0');
		return;
	}
	FUZZ_CHECK(net.prefix <= 128);
	for (unsigned i = net.prefix; i < 128; i++)
		FUZZ_CHECK((net.addr[i / 8] & (0x80 >> i % 8)) == 0);
}

static void
fuzz_allow(const char *text)
{
	static struct qp_allow a;
	struct qp_errmsg msg = {""};

	a = (struct qp_allow) {0};
	if (qp_allow_add(&a, text, &msg) != QP_OK) {
		FUZZ_CHECK(msg.text[0] != '\0');
		return;
	}
	FUZZ_CHECK(a.n > 0);
	/* Each rule allows its own network's first address, at both ends of its ports. */
	for (unsigned i = 0; i < a.n; i++) {
		FUZZ_CHECK(qp_allow_check(&a, &a.rule[i].net, a.rule[i].first));
		FUZZ_CHECK(qp_allow_check(&a, &a.rule[i].net, a.rule[i].last));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_CHECK(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	fuzz_ports(text);
	fuzz_network(text);
	fuzz_allow(text);
	free(text);
	return 0;
}
