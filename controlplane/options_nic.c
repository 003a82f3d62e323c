/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the values of nic mode's options, each by itself. What they mean
 * together is options_nic_check.c's. Main or loop thread.
 */
#include "controlplane/options_nic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/classifier.h"
#include "common/host.h"

#define TEXT_BYTES 128u

/* A decimal number and nothing else. */
static bool
number(const char *text, unsigned long max, uint32_t *out)
{
	char *end;
	unsigned long v;

	if (*text < '0' || *text > '9')
		return false;
	v = strtoul(text, &end, 10);
	if (*end != '\0' || v > max)
		return false;
	*out = (uint32_t)v;
	return true;
}

/* Cuts "@PORT" off a copy of `text`. False: that is no number of a port, or all is too long. */
static bool
cut_port(const char *text, uint8_t none, char copy[TEXT_BYTES], uint8_t *port)
{
	uint32_t n = none;
	char *at;

	if (strlen(text) >= TEXT_BYTES)
		return false;
	snprintf(copy, TEXT_BYTES, "%s", text);
	at = strrchr(copy, '@');
	if (at != NULL)
		*at++ = '\0';
	if (at != NULL && !number(at, QP_NIC_MAX_PORTS - 1, &n))
		return false;
	*port = (uint8_t)n;
	return true;
}

/* ADDR/LEN; `*bits` of the v4-mapped form. Cuts `text`. */
static bool
network(char *text, struct in6_addr *addr, uint8_t *bits)
{
	char *slash = strchr(text, '/');
	bool v4;
	uint32_t len;

	if (slash == NULL)
		return false;
	*slash = '\0';
	if (qp_ip_parse_text(text, addr, NULL) != 0)
		return false;
	v4 = IN6_IS_ADDR_V4MAPPED(addr);
	if (!number(slash + 1, v4 ? 32 : 128, &len))
		return false;
	*bits = (uint8_t)(v4 ? 96 + len : len);
	return true;
}

/* As dataplane/nic/port_setup.c wants it, which would refuse it later, and after other things. */
static bool
is_device(const char *text, size_t name)
{
	const bool pci = strspn(text, "0123456789abcdefABCDEF:.") == name &&
			 memchr(text, ':', name) != NULL && memchr(text, '.', name) != NULL;

	return pci || strncmp(text, "net_", strlen("net_")) == 0;
}

int
qp_opt_nic_port(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;
	const size_t name = strcspn(text, ",");

	/* A command line carries it to two programs: no blanks. */
	if (!is_device(text, name) || name >= sizeof(((struct qp_nic_port *)NULL)->name) ||
		strlen(text) >= QP_NIC_DEVICE_BYTES ||
		strpbrk(text, " \t\n") != NULL)
		return qp_fail(msg, QP_E_INVAL,
			"a PCI address (0000:03:00.0) or a virtual device with its arguments "
			"(net_tap0,iface=qp0), no blanks, its name at most %zu bytes, all of it %u",
			sizeof(((struct qp_nic_port *)NULL)->name) - 1, QP_NIC_DEVICE_BYTES - 1);
	if (n->ports.n >= QP_NIC_MAX_PORTS)
		return qp_fail(msg, QP_E_INVAL, "at most %u ports", QP_NIC_MAX_PORTS);
	n->ports.v[n->ports.n++] = text;
	return 0;
}

int
qp_opt_nic_ip(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;
	struct qp_nic_addr a = {.prefix = 0};
	char copy[TEXT_BYTES];

	if (n->naddrs >= QP_NIC_MAX_ADDRS)
		return qp_fail(msg, QP_E_INVAL, "at most %u addresses", QP_NIC_MAX_ADDRS);
	if (!cut_port(text, 0, copy, &a.port) || !network(copy, &a.addr, &a.prefix))
		return qp_fail(msg, QP_E_INVAL,
			"ADDR/LEN or ADDR/LEN@PORT, such as 192.0.2.1/24 or 2001:db8::1/64@1");
	n->addr[n->naddrs++] = a;
	return 0;
}

int
qp_opt_nic_gateway(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;
	struct qp_nic_route r = {.prefix = 0};
	char copy[TEXT_BYTES];
	bool v4;

	if (!cut_port(text, QP_NIC_ANY_PORT, copy, &r.port) ||
		qp_ip_parse_text(copy, &r.via, NULL) != 0)
		return qp_fail(msg, QP_E_INVAL, "a router's address, such as 192.0.2.254, 2001:db8::fe or "
						"fe80::1@0");
	v4 = IN6_IS_ADDR_V4MAPPED(&r.via);
	for (unsigned i = 0; i < n->ngateways; i++) {
		if (IN6_IS_ADDR_V4MAPPED(&n->gateway[i].via) == v4)
			return qp_fail(msg, QP_E_INVAL, "one router for IPv%u; others by --route",
				v4 ? 4u : 6u);
	}
	if (v4) {
		r.dest.s6_addr[10] = r.dest.s6_addr[11] = 0xff;
		r.prefix = 96;
	}
	n->gateway[n->ngateways++] = r;
	return 0;
}

int
qp_opt_nic_route(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;
	struct qp_nic_route r = {.prefix = 0};
	char copy[TEXT_BYTES], *via = NULL;

	if (n->nroutes >= QP_NIC_MAX_ROUTES)
		return qp_fail(msg, QP_E_INVAL, "at most %u routes", QP_NIC_MAX_ROUTES);
	if (cut_port(text, QP_NIC_ANY_PORT, copy, &r.port))
		via = strchr(copy, '=');
	if (via != NULL)
		*via++ = '\0';
	if (via == NULL || !network(copy, &r.dest, &r.prefix) ||
		qp_ip_parse_text(via, &r.via, NULL) != 0 ||
		IN6_IS_ADDR_V4MAPPED(&r.dest) != IN6_IS_ADDR_V4MAPPED(&r.via))
		return qp_fail(msg, QP_E_INVAL, "NET/LEN=VIA of one family, such as "
						"10.0.0.0/8=192.0.2.253 or 2001:db8:9::/48=fe80::1@0");
	n->route[n->nroutes++] = r;
	return 0;
}

/* A later one for the same port counts; the first without a port stands at the end. */
static bool
take_value(struct qp_nic_value *list, unsigned *n, const char *text, uint32_t min, uint32_t max)
{
	struct qp_nic_value v;
	char copy[TEXT_BYTES];
	unsigned i;

	if (!cut_port(text, QP_NIC_ANY_PORT, copy, &v.port) || !number(copy, max, &v.value) ||
		v.value < min)
		return false;
	for (i = 0; i < *n && list[i].port != v.port; i++)
		;
	list[i] = v;
	if (i == *n)
		(*n)++;
	return true;
}

int
qp_opt_nic_vlan(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;

	if (!take_value(n->vlan, &n->nvlans, text, 0, 4094))
		return qp_fail(msg, QP_E_INVAL, "ID or ID@PORT, ID from 1 to 4094, or 0 for untagged");
	return 0;
}

int
qp_opt_nic_mtu(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;

	if (!take_value(n->mtu, &n->nmtus, text, QP_NIC_MTU_LEAST, QP_NIC_MTU_MOST))
		return qp_fail(msg, QP_E_INVAL, "BYTES or BYTES@PORT, BYTES from %u to %u",
			QP_NIC_MTU_LEAST, QP_NIC_MTU_MOST);
	return 0;
}

/* A CPU or FIRST-LAST; false: neither, or too many, or one twice. */
static bool
take_cpus(struct qp_nic_options *n, char *text)
{
	char *dash = strchr(text, '-');
	uint32_t first, last;

	if (dash != NULL)
		*dash++ = '\0';
	if (!number(text, QP_MAX_CPUS - 1, &first))
		return false;
	last = first;
	if (dash != NULL && (!number(dash, QP_MAX_CPUS - 1, &last) || last < first))
		return false;
	for (uint32_t cpu = first; cpu <= last; cpu++) {
		for (unsigned i = 0; i < n->nlcores; i++) {
			if (n->lcore[i] == cpu)
				return false;
		}
		if (n->nlcores >= QP_MAX_WORKERS)
			return false;
		n->lcore[n->nlcores++] = (uint16_t)cpu;
	}
	return true;
}

int
qp_opt_nic_lcores(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_nic_options *n = opt->value;
	char copy[TEXT_BYTES], *save = NULL;
	bool fine = strlen(text) < sizeof(copy);

	n->nlcores = 0;
	n->lcores = text;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *t = strtok_r(copy, ",", &save); fine && t != NULL; t = strtok_r(NULL, ",", &save))
		fine = take_cpus(n, t);
	if (!fine || n->nlcores == 0)
		return qp_fail(msg, QP_E_INVAL,
			"numbers of CPUs, such as 2,3 or 0-3,8: each once, at most %u", QP_MAX_WORKERS);
	return 0;
}

void
qp_nic_options_take_lcores(struct qp_nic_options *to, const struct qp_nic_options *from)
{
	to->lcores = from->lcores;
	to->nlcores = from->nlcores;
	memcpy(to->lcore, from->lcore, sizeof(to->lcore));
	to->workers_given = from->workers_given;
}
