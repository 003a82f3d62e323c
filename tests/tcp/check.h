/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_CHECK_H
#define QP_TESTS_TCP_CHECK_H

struct qp_tcp;

/*
 * What must hold of a stack between two calls, after a flush: queues, records
 * and counts agree with each other and with the sequence numbers, and a
 * connection with something to send has a timer that will see to it. NULL:
 * all holds; else what does not.
 */
const char *tcp_check(const struct qp_tcp *tcp);

#endif
