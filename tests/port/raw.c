/* SPDX-License-Identifier: Apache-2.0 */
/* Hand-made packets for tests of the classifier; see raw.h. */
#include "tests/port/raw.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t
sum(uint32_t acc, const void *data, size_t len)
{
	const uint8_t *b = data;

	for (size_t i = 0; i < len; i++)
		acc += i & 1 ? b[i] : (uint32_t)b[i] << 8;
	return acc;
}

static uint16_t
finish(uint32_t acc)
{
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return htons((uint16_t)~acc);
}

static uint16_t
l4_sum(const void *src, const void *dst, size_t alen, uint8_t proto, const void *l4, size_t len)
{
	return finish(sum(sum(sum((uint32_t)(proto + len), src, alen), dst, alen), l4, len));
}

/* The IP header; what follows it starts at the returned offset. */
static size_t
put_ip(uint8_t *out, const char *src, const char *dst, uint8_t proto, size_t len, uint16_t frag)
{
	struct ip *ip4 = (struct ip *)out;
	struct ip6_hdr *ip6 = (struct ip6_hdr *)out;

	if (strchr(src, ':') != NULL) {
		*ip6 = (struct ip6_hdr) {.ip6_plen = htons((uint16_t)len), .ip6_nxt = proto,
			.ip6_hlim = 64};
		ip6->ip6_vfc = 0x60;
		cr_assert(inet_pton(AF_INET6, src, &ip6->ip6_src) == 1 &&
			inet_pton(AF_INET6, dst, &ip6->ip6_dst) == 1);
		return sizeof(*ip6);
	}
	*ip4 = (struct ip) {.ip_v = 4, .ip_hl = 5, .ip_len = htons((uint16_t)(20 + len)),
		.ip_off = htons(frag), .ip_ttl = 64, .ip_p = proto};
	cr_assert(inet_pton(AF_INET, src, &ip4->ip_src) == 1 &&
		inet_pton(AF_INET, dst, &ip4->ip_dst) == 1);
	ip4->ip_sum = finish(sum(0, ip4, 20));
	return sizeof(*ip4);
}

size_t
raw_udp(uint8_t *out, const struct raw_udp *u, const void *payload, size_t len)
{
	const size_t udp_len = sizeof(struct udphdr) + len;
	const size_t off = put_ip(out, u->src, u->dst, IPPROTO_UDP, udp_len, u->frag_off);
	const size_t alen = off == 20 ? 4 : 16, src = off == 20 ? 12 : 8;
	struct udphdr *udp = (struct udphdr *)(out + off);

	*udp = (struct udphdr) {.uh_sport = htons(u->sport), .uh_dport = htons(u->dport),
		.uh_ulen = htons((uint16_t)udp_len)};
	if (payload != NULL)
		memcpy(udp + 1, payload, len);
	else
		memset(udp + 1, 0, len);
	udp->uh_sum = l4_sum(out + src, out + src + alen, alen, IPPROTO_UDP, udp, udp_len);
	return off + udp_len;
}

size_t
raw_unreachable(uint8_t *out, const char *src, const char *dst, const uint8_t *quoted, size_t len)
{
	const int v6 = strchr(src, ':') != NULL;
	const size_t off = put_ip(out, src, dst, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 8 + len, 0);
	struct icmp6_hdr *icmp = (struct icmp6_hdr *)(out + off); /* ICMP's starts alike */

	memset(icmp, 0, 8);
	icmp->icmp6_type = v6 ? ICMP6_DST_UNREACH : ICMP_DEST_UNREACH;
	icmp->icmp6_code = v6 ? ICMP6_DST_UNREACH_NOPORT : ICMP_PORT_UNREACH;
	memcpy(out + off + 8, quoted, len);
	icmp->icmp6_cksum = v6 ? l4_sum(out + 8, out + 24, 16, IPPROTO_ICMPV6, icmp, 8 + len)
			       : finish(sum(0, icmp, 8 + len));
	return off + 8 + len;
}

void
raw_mac_of(const char *name, uint8_t mac[6])
{
	struct ifreq ifr = {0};
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
	cr_assert_eq(ioctl(s, SIOCGIFHWADDR, &ifr), 0, "%s: %s", name, strerror(errno));
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	close(s);
}

void
raw_send(const char *from, const uint8_t to_mac[6], const uint8_t *packet, size_t len)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(from)};
	uint8_t frame[ETH_FRAME_LEN];
	struct ether_header *eth = (struct ether_header *)frame;
	int s = socket(AF_PACKET, SOCK_RAW, 0);

	cr_assert_leq(len, (size_t)ETH_DATA_LEN);
	memcpy(eth->ether_dhost, to_mac, 6);
	raw_mac_of(from, eth->ether_shost);
	eth->ether_type = htons(packet[0] >> 4 == 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
	memcpy(eth + 1, packet, len);
	cr_assert_eq(sendto(s, frame, sizeof(*eth) + len, 0, (struct sockaddr *)&to, sizeof(to)),
		(ssize_t)(sizeof(*eth) + len), "%s: %s", from, strerror(errno));
	close(s);
}
