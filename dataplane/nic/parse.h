/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_NIC_PARSE_H
#define QP_DATAPLANE_NIC_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/ip.h"

/*
 * What steering must know of a frame, read from its first bytes as the classifier
 * reads it in host mode. Checks nothing that the owner checks anyway. Pure.
 */

/* A conversation as this end sees it. Offsets from the frame's start. */
struct qp_steer_flow {
	struct qp_ipaddr local;
	struct qp_ipaddr remote;
	uint16_t lport_be; /* 0: it has none */
	uint16_t rport_be;
	uint16_t l4_off;
	uint8_t proto;
	bool v6;
	bool fragment;     /* a piece of a datagram; `id` says which */
	bool first;        /* … its first one, which has ports */
	bool quoted;       /* of an ICMP error: the packet that it is about, which we sent */
	uint32_t id;
	struct qp_ipaddr sender; /* of the packet itself: `remote` but for an ICMP error */
};

/*
 * `len`: bytes at `frame`, which starts with an Ethernet header without VLAN tag.
 * False: not IP, or cut off before its ports. An ICMP message that quotes nothing
 * has no ports.
 */
bool qp_steer_parse(const uint8_t *frame, uint32_t len, struct qp_steer_flow *f);

#endif
