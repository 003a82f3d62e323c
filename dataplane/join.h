/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_DATAPLANE_JOIN_H
#define QP_DATAPLANE_JOIN_H

#include <stdint.h>

#include "dataplane/ip.h"

struct rte_mbuf;

/*
 * Receive offload for ports that have none: TCP segments of a burst that follow
 * each other, and say the same but for their text, become one super-segment, as a
 * port with LRO makes them (pkt->segsz). Within a connection nothing is overtaken.
 * frames, pkt and verdict: `n` frames as qp_ip_parse left them. Of frames that became
 * part of an earlier one the place is NULL. Returns how many did.
 */
uint16_t qp_join_segments(struct rte_mbuf **frames, struct qp_packet *pkt,
	const enum qp_ip_verdict *verdict, uint16_t n);

#endif
