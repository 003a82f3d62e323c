/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tcp/linux/hook.h"

#include <bpf/bpf.h>
#include <err.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

/* tc filters of the test's programs: alone on links that the test made. */

uint32_t
link_index(const char *name)
{
	uint32_t i = if_nametoindex(name);

	if (i == 0)
		err(1, "no interface %s", name);
	return i;
}

void
hook_attach(uint32_t link, enum bpf_tc_attach_point at, const struct bpf_program *prog)
{
	struct bpf_tc_hook hook;
	struct bpf_tc_opts opts;
	int rc;

	memset(&hook, 0, sizeof(hook));
	hook.sz = sizeof(hook);
	hook.ifindex = (int)link;
	hook.attach_point = at;
	libbpf_set_print(NULL); /* that the hook is there already is no error */
	rc = bpf_tc_hook_create(&hook);
	if (rc != 0 && rc != -EEXIST)
		errx(1, "no tc hook at link %u: %s", link, strerror(-rc));
	memset(&opts, 0, sizeof(opts));
	opts.sz = sizeof(opts);
	opts.handle = opts.priority = 1;
	opts.flags = BPF_TC_F_REPLACE;
	opts.prog_fd = bpf_program__fd(prog);
	rc = bpf_tc_attach(&hook, &opts);
	if (rc != 0)
		errx(1, "no tc filter at link %u: %s", link, strerror(-rc));
}
