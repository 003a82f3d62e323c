/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the kernel's privileges a gateway needs, and what for. Any thread. */
#include "controlplane/privilege.h"

#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Not in here, because a gateway starts without them: CAP_NET_BIND_SERVICE (ports
 * below 1024), CAP_SYS_ADMIN (undoing what a gateway that died in another network
 * namespace left there).
 */
static const struct {
	unsigned number;
	const char *name;
	const char *use;
} needed[] = {
	{CAP_NET_ADMIN, "CAP_NET_ADMIN", "TAP devices, tc filters, net sysctls"},
	{CAP_BPF, "CAP_BPF", "the eBPF classifier and its maps"},
};

static uint64_t
effective(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data) != 0)
		return 0;
	return (uint64_t)data[1].effective << 32 | data[0].effective;
}

bool
qp_privilege_sees_maps(void)
{
	return (effective() >> CAP_SYS_ADMIN & 1) != 0;
}

int
qp_privilege_check(struct qp_errmsg *msg)
{
	uint64_t have = effective();

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if ((have >> needed[i].number & 1) == 0)
			return qp_fail(msg, QP_E_PERM,
				"needs root, or a service with %s (%s): run it with sudo, or by its "
				"systemd unit",
				needed[i].name, needed[i].use);
	}
	return 0;
}
