/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_MEMORY_H
#define QP_DATAPLANE_MEMORY_H

/*
 * How much of a worker's mbufs is left. Payload waits in mbufs for an
 * acknowledgement, and an acknowledgement needs an mbuf to come in by: so the
 * last ones are never given to payload. The worker looks once a turn; TCP and
 * the relay obey.
 */
enum qp_mem_level {
	QP_MEM_PLENTY, /* more than half is free */
	QP_MEM_TIGHT,  /* windows and credit grow no further than what is given back */
	QP_MEM_SCARCE, /* an eighth is free: new payload and new connections are dropped */
};

#endif
