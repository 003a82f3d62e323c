/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_TCP_OPTIONS_H
#define QP_DATAPLANE_TCP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define QP_TCP_SACK_MAX 4       /* blocks that fit 40 bytes of options */
#define QP_TCP_OPTIONS_MAX 40
#define QP_TCP_FASTOPEN_MAX 16  /* bytes of a Fast Open cookie (RFC 7413, 4.1.1) */

struct qp_tcp_sack {
	uint32_t start, end; /* host order; end exclusive */
};

/* The options that this stack knows (RFC 9293, 7323, 2018, 7413, 5482). */
struct qp_tcp_options {
	bool has_mss, has_wscale, has_ts, sack_permitted;
	uint8_t wscale;  /* at most 14 (RFC 7323, 2.3) */
	uint16_t mss;
	uint32_t tsval, tsecr;
	unsigned nsack;
	struct qp_tcp_sack sack[QP_TCP_SACK_MAX];
	bool has_uto;
	uint32_t uto_s;       /* the user timeout (RFC 5482), at least 1 */
	bool has_fastopen;
	uint8_t fastopen_len; /* 0: a cookie is asked for */
	uint8_t fastopen[QP_TCP_FASTOPEN_MAX];
};

/*
 * 0, or QP_E_PROTO when a length contradicts itself. Unknown options are
 * skipped. MSS, window scale, SACK-permitted and Fast Open count in SYNs only.
 */
int qp_tcp_options_parse(const uint8_t *p, unsigned len, bool syn, struct qp_tcp_options *o);

/* Writes what is set, padded to 4 bytes, into QP_TCP_OPTIONS_MAX bytes; returns the length. */
unsigned qp_tcp_options_write(uint8_t *p, const struct qp_tcp_options *o);

#endif
