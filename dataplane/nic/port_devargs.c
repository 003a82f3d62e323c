/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a port, by its form alone: no device is looked for. Any thread. */
#include "dataplane/nic/port_setup.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <rte_ethdev.h>

static bool
is_pci(const char *text, size_t len)
{
	unsigned domain = 0, bus, dev, fn;
	char copy[16];
	int end = -1;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (sscanf(copy, "%4x:%2x:%2x.%1x%n", &domain, &bus, &dev, &fn, &end) == 4 &&
		end == (int)len)
		return true;
	end = -1;
	return sscanf(copy, "%2x:%2x.%1x%n", &bus, &dev, &fn, &end) == 3 && end == (int)len;
}

/* key=value[,key=value…] */
static bool
are_arguments(const char *text)
{
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		const char *equals = memchr(text, '=', len);

		if (equals == NULL || equals == text)
			return false;
		text += len;
		if (*text == ',' && *++text == '\0')
			return false;
	}
	return true;
}

int
qp_port_devargs_check(const char *devargs, bool *pci, struct qp_errmsg *msg)
{
	size_t name = strcspn(devargs, ","), len = strlen(devargs);
	bool plain = name > 0;

	for (size_t i = 0; i < name; i++)
		plain = plain && (isalnum((unsigned char)devargs[i]) || strchr("_-:.", devargs[i]));
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)devargs[i]))
			return qp_fail(msg, QP_E_INVAL, "--port %s: a port has no blanks in it", devargs);
	if (len >= QP_PORT_DEVARGS_BYTES || name >= RTE_ETH_NAME_MAX_LEN)
		return qp_fail(msg, QP_E_INVAL, "--port %.60s…: longer than %u characters", devargs,
			QP_PORT_DEVARGS_BYTES - 1);
	*pci = is_pci(devargs, name);
	if (!*pci && (!plain || strncmp(devargs, "net_", 4) != 0))
		return qp_fail(msg, QP_E_INVAL,
			"--port %s: expected a PCI address (0000:3b:00.0) or a DPDK device "
			"(net_memif0,role=server,socket=/run/x.sock)",
			devargs);
	if (devargs[name] == ',' && (devargs[name + 1] == '\0' || !are_arguments(devargs + name + 1)))
		return qp_fail(msg, QP_E_INVAL, "--port %s: expected NAME[,KEY=VALUE…]", devargs);
	return 0;
}

void
qp_port_devargs_name(const char *devargs, char name[64])
{
	size_t len = strcspn(devargs, ",");
	const bool shortened = is_pci(devargs, len) && memchr(devargs, '.', len) != NULL &&
			       len <= strlen("00:00.0");

	snprintf(name, 64, "%s%.*s", shortened ? "0000:" : "", (int)len, devargs);
	if (is_pci(devargs, len))
		for (char *c = name; *c != '\0'; c++)
			*c = (char)tolower((unsigned char)*c);
}
