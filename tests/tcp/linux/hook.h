/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_LINUX_HOOK_H
#define QP_TESTS_TCP_LINUX_HOOK_H

#include <bpf/libbpf.h>
#include <stdint.h>

struct bpf_program;

/* The index of interface `name`; ends the process if there is none. */
uint32_t link_index(const char *name);
/* Runs `prog` at BPF_TC_INGRESS or BPF_TC_EGRESS of a link, until that goes or the filter does. */
void hook_attach(uint32_t link, enum bpf_tc_attach_point at, const struct bpf_program *prog);

#endif
