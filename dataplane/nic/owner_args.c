/* SPDX-License-Identifier: Apache-2.0 */
/* Parsers of the port owner's options for ports. Before anything starts. */
#include "dataplane/nic/owner_args.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
qp_opt_owner_port(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_owner_ports *ports = opt->value;
	struct qp_owner_port *port = &ports->port[ports->n];

	if (ports->n == QP_NIC_MAX_PORTS)
		return qp_fail(msg, QP_E_INVAL, "at most %u ports", QP_NIC_MAX_PORTS);
	if (strlen(text) >= sizeof(port->devargs))
		return qp_fail(msg, QP_E_INVAL, "at most %zu characters", sizeof(port->devargs) - 1);
	snprintf(port->devargs, sizeof(port->devargs), "%s", text);
	ports->n++;
	return 0;
}

/* NUMBER[@PORT] with min … max; NULL: it is none. */
static struct qp_owner_port *
numbered(const struct qp_opt *opt, const char *text, uint16_t min, uint16_t max, uint16_t *out)
{
	struct qp_owner_ports *ports = opt->value;
	unsigned long number, port = 0;
	char *end;

	if (!isdigit((unsigned char)*text))
		return NULL;
	number = strtoul(text, &end, 10);
	if (*end == '@' && isdigit((unsigned char)end[1]))
		port = strtoul(end + 1, &end, 10);
	if (*end != '\0' || number < min || number > max || port >= ports->n)
		return NULL;
	*out = (uint16_t)number;
	return &ports->port[port];
}

int
qp_opt_owner_mtu(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	uint16_t mtu = 0;
	struct qp_owner_port *port = numbered(opt, text, 576, 65000, &mtu);

	if (port == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"BYTES[@PORT], 576 to 65000, of a --port that stands before it");
	port->mtu = mtu;
	return 0;
}

int
qp_opt_owner_vlan(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	uint16_t vlan = 0;
	struct qp_owner_port *port = numbered(opt, text, 1, 4094, &vlan);

	if (port == NULL)
		return qp_fail(msg, QP_E_INVAL,
			"ID[@PORT], 1 to 4094, of a --port that stands before it");
	port->vlan = vlan;
	return 0;
}
