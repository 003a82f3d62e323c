/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The eBPF program that chooses a TAP device's queue for a frame. The classifier
 * has looked at the frame already and left its answer in the Ethernet header; the
 * few instructions that are left to do need no compiler and no loader. Runs once, at the port's start.
 */
#include "dataplane/port_steer.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/classifier.h"

/* The queue's number is the program's result, modulo how many there are. */
static const struct bpf_insn program[] = {
	/* BPF_LD | BPF_ABS takes the frame from r6 and leaves what it loads in r0. */
	{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6, .src_reg = BPF_REG_1},
	{.code = BPF_LD | BPF_ABS | BPF_H, .imm = 0},
	{.code = BPF_JMP | BPF_JNE | BPF_K, .imm = QP_CLS_MARK_0 << 8 | QP_CLS_MARK_MTU, .off = 2},
	{.code = BPF_LD | BPF_ABS | BPF_B, .imm = QP_CLS_MARK_QUEUE_AT},
	{.code = BPF_JMP | BPF_EXIT},
	/* Not from the classifier. */
	{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = QP_CLS_QUEUE_FLOWS},
	{.code = BPF_JMP | BPF_EXIT},
};

static int
load(void)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (uintptr_t) "Apache-2.0",
		.prog_name = "qp_steer",
	};

	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

int
qp_steer_attach(int tap_fd)
{
	int prog = load(), err;

	if (prog < 0)
		return errno;
	err = ioctl(tap_fd, TUNSETSTEERINGEBPF, &prog) < 0 ? errno : 0;
	close(prog); /* the device holds it */
	return err;
}
