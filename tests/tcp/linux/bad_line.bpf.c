/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bad line, one direction of it: loses, marks and reorders TCP packets by
 * chance. Runs in the kernel on tc hooks, and decides where frames come off
 * the wire: there they are single packets, as super-segments were cut on the
 * way in, and no sender is told of a drop, as it is of one at its own egress.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MILLION      1000000
#define CROSSED      0x71 /* skb->mark of what has come off the wire */
#define ECN_MASK     3

/* Fixed before the program is loaded. */
const volatile __u32 loss_ppm;
const volatile __u32 late_ppm;  /* goes by late_link instead */
const volatile __u32 ce_ppm;    /* congestion: marked if ECT, else lost (RFC 3168, 5) */
const volatile __u32 wire_link; /* where frames wait for their time */
const volatile __u32 late_link; /* where late ones wait once more */
const volatile __u32 far_link;  /* the line's far end */
const volatile __u32 far_flags; /* BPF_F_INGRESS: that is to receive it, not to send it */

/* Written by the CPU that runs the line; one does, so the order of chances is the seed's. */
__u64 chance = 1;
__u64 packets, lost, late, marked, several;

/* Uniform in 0 … 999,999 (xorshift64). */
static __always_inline __u32
draw(void)
{
	__u64 x = chance;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	chance = x;
	return (__u32)(x >> 32) % MILLION;
}

/* Whether it is TCP, and its ECN bits. Others, such as neighbour discovery, have no bad luck. */
static __always_inline int
is_tcp(struct __sk_buff *skb, __u8 *ecn)
{
	struct ipv6hdr ip6;
	struct iphdr ip4;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip4, sizeof(ip4)) < 0)
			return 0;
		*ecn = ip4.tos & ECN_MASK;
		return ip4.protocol == IPPROTO_TCP;
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
		bpf_skb_load_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6)) < 0)
		return 0;
	*ecn = ip6.flow_lbl[0] >> 4 & ECN_MASK;
	return ip6.nexthdr == IPPROTO_TCP;
}

enum fate {
	ARRIVES,
	IS_LATE,
	IS_LOST,
};

static __always_inline enum fate
decide(struct __sk_buff *skb)
{
	__u8 ecn;

	if (!is_tcp(skb, &ecn))
		return ARRIVES;
	packets++;
	if (skb->gso_segs > 1)
		several++;
	if (draw() < loss_ppm) {
		lost++;
		return IS_LOST;
	}
	if (draw() < ce_ppm) {
		if (ecn == 0 || bpf_skb_ecn_set_ce(skb) != 1) {
			lost++;
			return IS_LOST;
		}
		marked++;
	}
	if (draw() < late_ppm) {
		late++;
		return IS_LATE;
	}
	return ARRIVES;
}

/* Where frames enter the line; at a link that is both its ends they come by again. */
SEC("tc")
int
line_enter(struct __sk_buff *skb)
{
	return skb->mark == CROSSED ? TC_ACT_OK : (int)bpf_redirect(wire_link, 0);
}

static __always_inline int
leave(struct __sk_buff *skb)
{
	skb->mark = CROSSED;
	return (int)bpf_redirect(far_link, far_flags);
}

/* Ingress of the wire, whose time has passed: to the far end, or not. */
SEC("tc")
int
line_cross(struct __sk_buff *skb)
{
	switch (decide(skb)) {
	case IS_LOST:
		return TC_ACT_SHOT;
	case IS_LATE:
		return (int)bpf_redirect(late_link, 0);
	default:
		return leave(skb);
	}
}

/* Ingress of late_link. */
SEC("tc")
int
line_late(struct __sk_buff *skb)
{
	return leave(skb);
}

char LICENSE[] SEC("license") = "Apache-2.0";
