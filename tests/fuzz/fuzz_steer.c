/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steering of frames of any bytes: an answer names a worker that is there or a reason, and
 * what is read lies within the frame, which has no byte behind it. The first byte chooses
 * among generations, holders and whether the piece of a datagram was collected.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/nic/steer.h"
#include "dataplane/nic/strangers.h"
#include "tests/fuzz/fuzz.h"

#define WORKERS 3u

static struct qp_nic *nic;
static struct qp_steer steer;
static struct qp_strangers *strangers;

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	nic = calloc(1, sizeof(*nic));
	strangers = qp_strangers_new(3);
	FUZZ_CHECK(nic != NULL && strangers != NULL);
	nic->quic_port = 0x0101;
	nic->public_port = 0x0202;
	for (uint32_t p = 0; p < 65536; p += 3)
		for (unsigned proto = 0; proto < QP_NIC_NPROTOCOLS; proto++)
			nic->owner[proto][p] = QP_NIC_OWNER(p % 4, p % 5) | p % 2 << 24;
	FUZZ_CHECK(qp_steer_init(&steer, nic, 1, 1, WORKERS, 3) == 0);
	return 0;
}

static void
arrange(uint8_t how)
{
	for (uint32_t i = 0; i < QP_NIC_MAX_GENS; i++) {
		nic->gen[i].nworkers = WORKERS;
		nic->gen[i].server_id = how >> i & 1 ? i + 1 : 0;
	}
	nic->holder = how >> 4 & 3;
	qp_steer_turn(&steer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint64_t now_ns = 1000000000;
	struct qp_steer_flow f;
	struct qp_steer_to to;
	uint8_t *frame;

	if (nic == NULL)
		LLVMFuzzerInitialize(NULL, NULL);
	if (size < 1 || size > 65536)
		return 0;
	arrange(data[0]);
	frame = malloc(size); /* its own, so that a byte too far is seen */
	FUZZ_CHECK(frame != NULL);
	memcpy(frame, data + 1, size - 1);
	frame = realloc(frame, size - 1 > 0 ? size - 1 : 1);
	to = qp_steer_frame(&steer, frame, (uint32_t)size - 1, data[0] >> 7, now_ns++, &f);
	if (!qp_steer_is_drop(to.why)) {
		FUZZ_CHECK(to.gen < QP_NIC_MAX_GENS && steer.gen[to.gen].server_id != 0);
		FUZZ_CHECK(to.worker < steer.gen[to.gen].nworkers);
	}
	if (to.why != QP_STEER_NOT_IP)
		FUZZ_CHECK(qp_strangers_queue(strangers, &f, to.why == QP_STEER_QUIC_NEW, frame,
				   (uint32_t)size - 1, now_ns) < QP_CLS_NQUEUES);
	free(frame);
	return 0;
}
