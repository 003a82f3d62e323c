/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_NIC_PACKETS_H
#define QP_TESTS_NIC_PACKETS_H

#include <stdint.h>

#include "dataplane/ip.h"

/* Frames as a client or an outside user sends them. Checksums are right. */
#define FRAME_BYTES 1600u

struct frame {
	uint32_t len;
	uint8_t b[FRAME_BYTES];
};

/* "192.0.2.1" or "2001:db8::1"; fails the test when it is neither. */
struct qp_ipaddr ip(const char *text);

/* To and from: text, family of `from`. Ethernet from 02:…:02 to 02:…:01. */
struct frame udp(const char *from, uint16_t sport, const char *to, uint16_t dport,
	const void *payload, uint32_t len);
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
struct frame tcp(const char *from, uint16_t sport, const char *to, uint16_t dport, uint8_t flags,
	uint32_t seq);
/* A QUIC packet; `dcid` of 8 bytes. */
struct frame quic_short(const char *from, uint16_t sport, const char *to, uint16_t dport,
	const uint8_t dcid[8]);
struct frame quic_initial(const char *from, uint16_t sport, const char *to, uint16_t dport,
	const uint8_t dcid[8]);
/* An ICMP error about `about`, which was sent by `to`; type and code of unreachable port. */
struct frame icmp_error(const char *from, const char *to, const struct frame *about);
/* IPv4: makes it the piece of a datagram at `offset` bytes. */
void make_piece(struct frame *f, uint16_t id, uint16_t offset, int more);
/* An id that names a worker. */
void cid_of(uint8_t out[8], uint32_t server_id, uint8_t worker);

#endif
