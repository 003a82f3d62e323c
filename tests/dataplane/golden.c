/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Golden authentication bytes as constants, so that the fuzz targets need no
 * JSON; test_auth_bytes compares them with the vectors.
 */
#include "tests/dataplane/golden.h"

#include <sodium.h>
#include <string.h>

static size_t
bytes(const char *hex, uint8_t *out, size_t cap)
{
	size_t len = 0;

	must(sodium_hex2bin(out, cap, hex, strlen(hex), NULL, &len, NULL) == 0);
	return len;
}

void
golden_x25519(struct world *w)
{
	w->step1_len = bytes(
		"51554943504f52545f4155544821ec6a42a5bc9e0337ddaa095aa85e5df5bed7584be80de1ea4a4e"
		"f2e365f56b000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		w->step1, sizeof(w->step1));
	w->step2_len = bytes(
		"974353eea82d7c986958c1f774a0c59bf3ea9a5041a6e122bd6250eefaac27501cf579aba45a10ba"
		"1d1ef06d91fca2aa9ed0a1150515653155405d0b18cb9a67202122232425262728292a2b2c2d2e2f"
		"303132333435363738393a3b3c3d3e3f0973ae82ba2420e65e40a9363e5bb5bcbdd714e8a9495298"
		"5c0ce75eed10da11",
		w->step2, sizeof(w->step2));
	w->step3_len = bytes("ace6292a7ade75f4355cd54d24cc4148ccbbdfd06b8d6c7681c61d52b6b0cb4d",
		w->step3, sizeof(w->step3));
}

void
golden_psk(struct world *w)
{
	w->step1_len = bytes(
		"51554943504f52545f50534b000000006553f10038ab664bd86f77d7e66bdd9ae0792913a94fd8b3"
		"3a1260027e4b46c1f4884c672469ef61450d05dd8aded2cbaf1cafcf79ec12ee696418ac4513e4b4"
		"d528ace3",
		w->step1, sizeof(w->step1));
	w->step2_len = bytes(
		"1cf579aba45a10ba1d1ef06d91fca2aa9ed0a1150515653155405d0b18cb9a672021222324252627"
		"28292a2b2c2d2e2f303132333435363738393a3b3c3d3e3fb1725ab6c4f888d2081b9e745544bfe5"
		"a8bc067b3f2c82782341be7ebc366359",
		w->step2, sizeof(w->step2));
	w->step3_len = bytes("716785a40f9c715c1607142e27fd123b366ad70d2ab7a0d2e909b8bb393122f4",
		w->step3, sizeof(w->step3));
}
