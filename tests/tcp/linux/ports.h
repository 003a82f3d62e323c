/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_LINUX_PORTS_H
#define QP_TESTS_TCP_LINUX_PORTS_H

/* TCP ports that shunt.bpf.c gives to the stack under test; all others are the kernel's. */
#define OURS_FIRST 7000
#define OURS_LAST  7999

#endif
