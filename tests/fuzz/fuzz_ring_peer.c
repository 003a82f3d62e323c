/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control plane and data plane believe of each other. An input's first byte
 * says what it is: a request to attach, an answer to one, or a patch of a shared
 * block that is right otherwise, each of the patches an offset and four bytes.
 * Nothing is read outside the block, and what is told is in its limits.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "common/ipc_version.h"
#include "common/shared.h"

#define WORKERS    2u
#define RING_BYTES 128u

static void
attach(const uint8_t *data, size_t size)
{
	struct qp_attach got;
	struct qp_errmsg msg;
	uint32_t version;
	int rc;

	if (size == 0)
		return;
	rc = qp_attach_read(data + 1, size - 1, data[0], &got, &version, &msg);
	FUZZ_CHECK(version >= qp_ipc_own.oldest && version <= qp_ipc_own.newest);
	if (rc != 0)
		return;
	FUZZ_CHECK(got.nworkers >= 1 && got.nworkers <= QP_MAX_WORKERS);
	FUZZ_CHECK(data[0] == got.nworkers + (got.server_id != 0));
	FUZZ_CHECK(got.version <= version && (got.newest < got.version || got.newest >= version));
}

static void
answer(const uint8_t *data, size_t size)
{
	struct qp_attach_reply got;
	struct qp_errmsg msg;

	if (qp_attach_reply_read(data, size, &got, &msg) != 0)
		return;
	FUZZ_CHECK(got.version >= qp_ipc_own.oldest && got.version <= qp_ipc_own.newest);
	FUZZ_CHECK(got.server_id >= 1 && got.server_id <= UINT16_MAX);
	FUZZ_CHECK(memchr(got.why, '\0', sizeof(got.why)) != NULL);
}

/* In memory that ends where the block does, so that a step beyond it is found. */
static void
read_block(const void *block, uint64_t len)
{
	struct qp_worker_shared counts;
	struct qp_shared_view v;
	struct qp_shared_name name;
	struct qp_errmsg msg;

	if (qp_shared_open(&v, block, len, &msg) != 0)
		return;
	FUZZ_CHECK(v.nworkers >= 1 && v.nworkers <= QP_MAX_WORKERS);
	for (uint32_t w = 0; w < v.nworkers; w++) {
		for (uint32_t epoch = 0; epoch < 2; epoch++)
			for (int to_cp = 0; to_cp < 2; to_cp++)
				FUZZ_CHECK(qp_shared_ring_at(&v, epoch, w, to_cp) + v.ring_bytes <= len);
		qp_shared_copy(&v, w, &counts);
	}
	for (uint32_t i = 0; i < v.nnames; i++) {
		if (!qp_shared_name(&v, i, &name))
			continue;
		FUZZ_CHECK(strlen(name.name) < sizeof(name.name));
		for (uint32_t k = 0; k < name.n; k++)
			(void)qp_shared_word(&v, v.nworkers - 1, &name, k);
	}
}

static void
patch(const uint8_t *data, size_t size)
{
	const uint64_t whole = qp_shared_bytes(WORKERS, RING_BYTES);
	struct qp_gen_shared *made = aligned_alloc(64, (whole + 63) / 64 * 64);
	uint64_t len = whole, map_at;
	char *block;

	FUZZ_CHECK(made != NULL);
	memset(made, 0, whole);
	qp_shared_init(made, WORKERS, RING_BYTES);
	map_at = made->map_at;
	for (; size >= 6; data += 6, size -= 6) {
		uint16_t at = (uint16_t)(data[0] | data[1] << 8);

		/* Most are for the header and the map; the rest says how long the block is. */
		if (at < 0x40)
			memcpy((char *)made + at, data + 2, 4);
		else if (at < 0xf000 && map_at + at - 0x40 + 4 <= whole)
			memcpy((char *)made + map_at + at - 0x40, data + 2, 4);
		else if (at >= 0xf000)
			len = whole - (at - 0xf000) % whole;
	}
	block = malloc(len);
	FUZZ_CHECK(block != NULL);
	memcpy(block, made, len);
	free(made);
	read_block(block, len);
	free(block);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 'A')
		attach(data + 1, size - 1);
	else if (data[0] == 'R')
		answer(data + 1, size - 1);
	else
		patch(data + 1, size - 1);
	return 0;
}
