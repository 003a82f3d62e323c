/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_PORT_RAW_H
#define QP_TESTS_PORT_RAW_H

#include <stddef.h>
#include <stdint.h>

/* Packets that no ordinary socket sends, and the way to send them. */

struct raw_udp {
	const char *src, *dst; /* both of one family */
	uint16_t sport, dport;
	uint16_t frag_off;     /* IPv4: fragment field, host order */
};

/* An IP packet with a UDP datagram of `len` payload bytes (zeros when NULL); its length. */
size_t raw_udp(uint8_t *out, const struct raw_udp *u, const void *payload, size_t len);
/* An ICMP or ICMPv6 "destination unreachable" from `src` to `dst` that quotes a packet. */
size_t raw_unreachable(uint8_t *out, const char *src, const char *dst, const uint8_t *quoted,
	size_t len);

/* Sends an IP packet as an Ethernet frame from interface `from` to `to_mac`. */
void raw_send(const char *from, const uint8_t to_mac[6], const uint8_t *packet, size_t len);
void raw_mac_of(const char *name, uint8_t mac[6]);

#endif
