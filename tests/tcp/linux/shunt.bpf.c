/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives some TCP ports of an interface to the stack under test behind a TAP,
 * and lets what it sends out of that interface: so a kernel's server and ours
 * stand at the same place of the same line.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/tcp/linux/ports.h"

const volatile __u32 tap_link;
const volatile __u32 line_link;

static __always_inline int
is_ours(struct __sk_buff *skb)
{
	struct ipv6hdr ip6;
	struct iphdr ip4;
	__be16 port[2];
	__u32 l4;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip4, sizeof(ip4)) < 0 ||
			ip4.protocol != IPPROTO_TCP)
			return 0;
		l4 = ETH_HLEN + ip4.ihl * 4u;
	} else {
		if (skb->protocol != bpf_htons(ETH_P_IPV6) ||
			bpf_skb_load_bytes(skb, ETH_HLEN, &ip6, sizeof(ip6)) < 0 ||
			ip6.nexthdr != IPPROTO_TCP)
			return 0;
		l4 = ETH_HLEN + sizeof(ip6);
	}
	if (bpf_skb_load_bytes(skb, l4, port, sizeof(port)) < 0)
		return 0;
	return bpf_ntohs(port[1]) >= OURS_FIRST && bpf_ntohs(port[1]) <= OURS_LAST;
}

/* Ingress of the interface. */
SEC("tc")
int
shunt_in(struct __sk_buff *skb)
{
	return is_ours(skb) ? (int)bpf_redirect(tap_link, 0) : TC_ACT_OK;
}

/* Ingress of the TAP. */
SEC("tc")
int
shunt_out(struct __sk_buff *skb)
{
	return (int)bpf_redirect(line_link, 0);
}

char LICENSE[] SEC("license") = "Apache-2.0";
