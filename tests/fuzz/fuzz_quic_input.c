/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams into the QUIC endpoint, beside a client that is really connected:
 * it must not notice, and when time has passed nothing may be left of them.
 *
 * An input: records of length (2) and a datagram. The length's top bits: 0x8000
 * puts the live connection's id behind the first byte, 0x4000 sends from the
 * live client's address, 0x2000 joins it to the next into one super-segment
 * (the port's GRO), 0x1000 lets 100 ms pass before it.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "tests/dataplane/client.h"
#include "tests/dataplane/world.h"

#define LIVE_PORT 40000
#define STRANGER_PORT 50000
#define OWN_ID 0x8000u
#define OWN_ADDRESS 0x4000u
#define JOINED 0x2000u
#define LATER 0x1000u

static struct world *w;
static struct client *live;
static uint32_t mbufs;

static void
start(void)
{
	struct world_config cfg;

	world_init();
	world_config_default(&cfg);
	w = world_new(&cfg);
	live = client_new(w, LIVE_PORT, NULL);
	FUZZ_CHECK(client_forward(live, 9022) != NULL);
	world_run(w, WORLD_S);
	mbufs = world_mbufs_in_use(w);
}

static void
drop_answers(void)
{
	struct world_packet *p;

	while ((p = world_take_stray(w)) != NULL)
		free(p);
}

static void
deliver(unsigned flags, const uint8_t *data, size_t len)
{
	struct qp_flow from = world_flow(flags & OWN_ADDRESS ? LIVE_PORT : STRANGER_PORT);
	const ngtcp2_cid *id = ngtcp2_conn_get_dcid(live->conn);
	uint8_t buf[0x1000];

	memcpy(buf, data, len);
	if ((flags & OWN_ID) && len > id->datalen)
		memcpy(buf + 1, id->data, id->datalen);
	if (flags & LATER)
		world_run(w, 100 * WORLD_MS);
	w->net.gro = (flags & JOINED) != 0;
	world_send(w, &from, 0, buf, len);
	if (!(flags & JOINED))
		world_run(w, 6 * WORLD_MS);
	drop_answers();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t off = 0;

	if (w == NULL)
		start();
	w->net.max_udp_payload = 0x1000;
	while (off + 2 <= size) {
		unsigned head = (unsigned)data[off] << 8 | data[off + 1];
		size_t len = head & 0xfff;

		off += 2;
		len = len < size - off ? len : size - off;
		if (len > 0)
			deliver(head & 0xf000u, data + off, len);
		off += len;
	}
	/* Longer than a handshake may take, and than what is closed lingers. */
	world_run(w, 14 * WORLD_S);
	drop_answers();
	FUZZ_CHECK(!live->over);
	FUZZ_CHECK(w->counters.quic_connections == 1);
	FUZZ_CHECK(w->counters.tunnels_active == 1);
	FUZZ_CHECK(world_mbufs_in_use(w) <= mbufs + 1);
	return 0;
}
