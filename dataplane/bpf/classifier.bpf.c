/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Picks the gateway's own packets out of what arrives at the host's interfaces
 * and sends them to the TAP device of the worker that owns them (qp_ingress),
 * and sends the workers' answers on (qp_tap). Runs in the kernel on tc's
 * ingress hook, on any CPU, without state of its own: the control plane fills
 * the maps (common/classifier.h). What is not certainly ours stays the
 * kernel's. Loads on Linux 6.1; needs neither CO-RE nor GPL-only helpers.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "common/classifier.h"

#define ICMP_DEST_UNREACH     3
#define ICMP_TIME_EXCEEDED    11
#define ICMP_PARAMETERPROB    12
#define ICMPV6_ERROR_LAST     4  /* 1 … 4: unreachable, too big, time exceeded, parameter */
#define ICMP_HEADER_BYTES     8
#define IP_FRAG_OFFSET        0x1fff
#define IP_FRAG_MORE          0x2000
#define IP6_FRAG_OFFSET       0xfff8
#define IP6_FRAG_MORE         0x0001
#define UDP_HEADER_BYTES      8
#define TCP_SEQ_AT            4
#define TCP_FLAGS_AT          13
#define TCP_SYN               0x02
#define TCP_RST               0x04
#define TCP_ACK               0x10
/* The strangers' clock ticks each 2^27 ns. They come again after 0.5 to 32 s (RFC 6298, 2.1). */
#define TICK_SHIFT            27
#define AGAIN_FIRST           4
#define AGAIN_LAST            240
#define AGAIN_MOST            32        /* who says more in that time is no client */
#define FLOWS_KNOWN           (1u << 19) /* 2 MiB */
#define STRANGERS_SEEN        (1u << 19) /* 4 MiB: at 60,000 a second, 9 of 10 last for a second */
#define QUIC_LONG             0x80
#define QUIC_DCID_BYTES       8

/* Fixed before the program is loaded. */
const volatile __be16 quic_port;
const volatile __be16 public_port; /* 0: none */
const volatile struct qp_cls_addr quic_addr;
const volatile __u32 strangers_seed; /* random: nobody outside knows who shares an entry */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct qp_cls_worker);
	__type(value, __u32);
} workers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct qp_cls_active);
} active SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072); /* 65,536 of TCP and of UDP */
	__type(key, struct qp_cls_port);
	__type(value, struct qp_cls_port_owner);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct qp_cls_addr);
	__type(value, struct qp_cls_local);
} local SEC(".maps");

/* ifindex → MTU. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} links SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, QP_CLS_MAX_BLOCKED);
	__type(key, struct qp_cls_network);
	__type(value, __u8);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, QP_CLS_MAX_WAYS);
	__type(key, struct qp_cls_way);
	__type(value, __u32);
} ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, QP_CLS_NCOUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* Who was last seen of those whose hash leads here. */
struct stranger {
	__u32 mark;
	__u16 tick; /* when it came first */
	__u16 n;    /* how often since */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STRANGERS_SEEN);
	__type(key, __u32);
	__type(value, struct stranger);
} strangers SEC(".maps");

/* The mark of the TCP conversation that a worker last spoke in, of those whose hash leads here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOWS_KNOWN);
	__type(key, __u32);
	__type(value, __u32);
} known SEC(".maps");

/* A datagram in pieces (RFC 791, RFC 8200, 4.5). All UDP. */
struct datagram {
	struct qp_cls_addr local;
	struct qp_cls_addr remote;
	__u32 id; /* network order; IPv4's 16 bits first */
};

/*
 * The TAP that the first piece went to. The oldest give way: a piece whose
 * datagram is not here is the kernel's, and lost.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct datagram);
	__type(value, __u32);
} fragments SEC(".maps");

/* A conversation as this host sees it, and where the transport header starts. */
struct flow {
	struct qp_cls_addr local;
	struct qp_cls_addr remote;
	struct {
		__be16 remote;
		__be16 local;
	} port;
	__u32 l4_off;
	__u32 frag_id; /* of a fragment */
	__u8 protocol;
	__u8 more;     /* fragments follow */
};

static __always_inline int
count(__u32 which, int verdict)
{
	__u64 *c = bpf_map_lookup_elem(&counters, &which);

	if (c)
		++*c;
	return verdict;
}

static __always_inline int
is_any(const struct qp_cls_addr *a)
{
	return (a->w[0] | a->w[1] | a->w[2] | a->w[3]) == 0;
}

static __always_inline int
is_equal(const struct qp_cls_addr *a, const struct qp_cls_addr *b)
{
	return ((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1]) | (a->w[2] ^ b->w[2]) |
		       (a->w[3] ^ b->w[3])) == 0;
}

static __always_inline int
is_v4(const struct qp_cls_addr *a)
{
	return (a->w[0] | a->w[1]) == 0 && a->w[2] == bpf_htonl(0xffff);
}

static __always_inline int
is_loopback(const struct qp_cls_addr *a)
{
	if (is_v4(a))
		return (a->w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return (a->w[0] | a->w[1] | a->w[2]) == 0 && a->w[3] == bpf_htonl(1);
}

static __always_inline int
is_link_local(const struct qp_cls_addr *a)
{
	return (a->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline struct qp_cls_addr
v4_mapped(__be32 addr)
{
	return (struct qp_cls_addr) {{0, 0, bpf_htonl(0xffff), addr}};
}

enum parse_result {
	PARSE_OK,
	PARSE_OTHER,
	PARSE_FRAGMENT, /* not the first: it has no ports */
};

/* Addresses, protocol and l4_off of the IPv4 packet at `off`; source goes to `remote`. */
static __always_inline enum parse_result
parse_v4(struct __sk_buff *skb, __u32 off, struct flow *f)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return PARSE_OTHER;
	f->remote = v4_mapped(ip.saddr);
	f->local = v4_mapped(ip.daddr);
	f->protocol = ip.protocol;
	f->l4_off = off + ip.ihl * 4u;
	f->frag_id = ip.id;
	f->more = (ip.frag_off & bpf_htons(IP_FRAG_MORE)) != 0;
	return ip.frag_off & bpf_htons(IP_FRAG_OFFSET) ? PARSE_FRAGMENT : PARSE_OK;
}

/* The like for IPv6. Of the extension headers, only a fragment header is looked behind. */
static __always_inline enum parse_result
parse_v6(struct __sk_buff *skb, __u32 off, struct flow *f)
{
	struct ipv6hdr ip;
	struct {
		__u8 nexthdr;
		__u8 reserved;
		__be16 frag_off;
		__be32 id;
	} frag;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) < 0 || ip.version != 6)
		return PARSE_OTHER;
	__builtin_memcpy(&f->remote, &ip.saddr, sizeof(f->remote));
	__builtin_memcpy(&f->local, &ip.daddr, sizeof(f->local));
	f->protocol = ip.nexthdr;
	f->l4_off = off + sizeof(ip);
	if (ip.nexthdr != IPPROTO_FRAGMENT)
		return PARSE_OK;
	if (bpf_skb_load_bytes(skb, f->l4_off, &frag, sizeof(frag)) < 0)
		return PARSE_OTHER;
	f->protocol = frag.nexthdr;
	f->l4_off += sizeof(frag);
	f->frag_id = frag.id;
	f->more = (frag.frag_off & bpf_htons(IP6_FRAG_MORE)) != 0;
	return frag.frag_off & bpf_htons(IP6_FRAG_OFFSET) ? PARSE_FRAGMENT : PARSE_OK;
}

static __always_inline enum parse_result
parse_ip(struct __sk_buff *skb, __u32 off, int v6, struct flow *f)
{
	return v6 ? parse_v6(skb, off, f) : parse_v4(skb, off, f);
}

/* Whether the message at f->l4_off is an error that quotes a packet. */
static __always_inline int
is_icmp_error(struct __sk_buff *skb, const struct flow *f)
{
	__u8 type;

	if (bpf_skb_load_bytes(skb, f->l4_off, &type, sizeof(type)) < 0)
		return 0;
	if (f->protocol == IPPROTO_ICMPV6)
		return type >= 1 && type <= ICMPV6_ERROR_LAST;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
		type == ICMP_PARAMETERPROB;
}

/* Reads the packet that an ICMP error quotes; we sent it, so its source is `local`. */
static __always_inline enum parse_result
parse_quoted(struct __sk_buff *skb, int v6, const struct flow *outer, struct flow *f)
{
	struct flow sent = {};
	__be16 ports_sent[2];
	enum parse_result r = parse_ip(skb, outer->l4_off + ICMP_HEADER_BYTES, v6, &sent);

	if (r != PARSE_OK)
		return PARSE_OTHER;
	if (bpf_skb_load_bytes(skb, sent.l4_off, ports_sent, sizeof(ports_sent)) < 0)
		return PARSE_OTHER;
	f->local = sent.remote;
	f->remote = sent.local;
	f->port.local = ports_sent[0];
	f->port.remote = ports_sent[1];
	f->protocol = sent.protocol;
	return PARSE_OK;
}

static __always_inline __u32
mix(__u32 h, __u32 word)
{
	h ^= word;
	h *= 0x9e3779b1; /* 2^32 / golden ratio */
	return h ^ (h >> 15);
}

static __always_inline __u32
hash_remote(const struct flow *f, __u32 h)
{
	h = mix(h, f->remote.w[0]);
	h = mix(h, f->remote.w[1]);
	h = mix(h, f->remote.w[2]);
	h = mix(h, f->remote.w[3]);
	return mix(h, f->port.remote);
}

/*
 * The active generation's worker for a client. Only the client's address and
 * port count, so that a repeated Initial and an ICMP error find the worker that
 * the first packet went to. 0: none.
 */
static __always_inline __u32
active_worker(const struct flow *f)
{
	const __u32 key = 0;
	const struct qp_cls_active *a = bpf_map_lookup_elem(&active, &key);
	__u32 i;

	if (!a || a->n == 0)
		return 0;
	i = hash_remote(f, 0) % a->n;
	return i < QP_CLS_MAX_WORKERS ? a->ifindex[i] : 0;
}

/*
 * The worker that the destination connection id names (RFC 8999, 5.1 and 5.2:
 * where it stands does not depend on the version). 0: none that we know.
 */
static __always_inline __u32
quic_worker(struct __sk_buff *skb, __u32 off)
{
	struct {
		__u8 first;
		__u8 version[4];
		__u8 dcid_len;
		__u8 dcid[QUIC_DCID_BYTES];
	} h;
	struct qp_cls_worker key = {};
	const __u8 *dcid;
	const __u32 *ifindex;

	if (bpf_skb_load_bytes(skb, off, &h, sizeof(h)) < 0)
		return 0;
	if (!(h.first & QUIC_LONG))
		dcid = h.version;
	else if (h.dcid_len == QUIC_DCID_BYTES)
		dcid = h.dcid;
	else
		return 0;
	__builtin_memcpy(&key.server_id, dcid, sizeof(key.server_id));
	key.lcore = dcid[sizeof(key.server_id)];
	ifindex = bpf_map_lookup_elem(&workers, &key);
	return ifindex ? *ifindex : 0;
}

/* Whose packet it is. */
struct owner {
	__u32 ifindex; /* the TAP; 0: nobody's now */
	__u32 counter; /* QP_CLS_other_pass: not the gateway's */
};

static __always_inline struct owner
find_owner(struct __sk_buff *skb, const struct flow *f, int quoted)
{
	const struct qp_cls_addr bound = {
		{quic_addr.w[0], quic_addr.w[1], quic_addr.w[2], quic_addr.w[3]}};
	const struct qp_cls_port key = {.protocol = f->protocol, .port = f->port.local};
	const struct qp_cls_port_owner *port;
	struct owner o = {0, QP_CLS_other_pass};

	if (f->protocol == IPPROTO_UDP && f->port.local == quic_port) {
		if (!is_any(&bound) && !is_equal(&bound, &f->local))
			return o;
		if (!quoted)
			o.ifindex = quic_worker(skb, f->l4_off + UDP_HEADER_BYTES);
		o.counter = o.ifindex ? QP_CLS_quic_known : QP_CLS_quic_new;
		if (!o.ifindex)
			o.ifindex = active_worker(f);
		return o;
	}
	if (f->protocol == IPPROTO_TCP && public_port && f->port.local == public_port) {
		if (!is_any(&bound) && !is_equal(&bound, &f->local))
			return o;
		return (struct owner) {active_worker(f), QP_CLS_public_api};
	}
	port = bpf_map_lookup_elem(&ports, &key);
	if (!port || (!is_any(&port->addr) && !is_equal(&port->addr, &f->local)))
		return o;
	return (struct owner) {port->ifindex, QP_CLS_port};
}

static __always_inline const struct qp_cls_local *
local_now(const struct qp_cls_addr *a)
{
	const struct qp_cls_local *l = bpf_map_lookup_elem(&local, a);

	return l && l->ifindex ? l : NULL;
}

/* Whether the kernel itself would take a packet to `f->local` here; if not, the reason. */
static __always_inline int
is_ours_to_take(struct __sk_buff *skb, const struct flow *f, __u32 *reason)
{
	const struct qp_cls_local *l;

	if (skb->ifindex == QP_CLS_LO_IFINDEX)
		return 1;
	*reason = QP_CLS_not_local_pass;
	l = local_now(&f->local);
	if (!l || (is_link_local(&f->local) && l->ifindex != skb->ifindex))
		return 0;
	/* Our answer would go to the host itself; the kernel knows how to refuse such packets. */
	*reason = QP_CLS_spoofed_pass;
	return !is_loopback(&f->remote) && !local_now(&f->remote);
}

/* Whether its sender is kept out. What comes by lo is the host's own. */
static __always_inline int
is_blocked(struct __sk_buff *skb, const struct flow *f)
{
	const struct qp_cls_network key = {.prefix = 128, .addr = f->remote};

	return skb->ifindex != QP_CLS_LO_IFINDEX && bpf_map_lookup_elem(&blocked, &key);
}

/*
 * Whether this stranger has come before and gone unanswered: a client tries
 * again, and must not be left to luck. A flood from everywhere comes once; one
 * from somewhere, too often. CPUs may race here, and then guess wrong once.
 */
static __always_inline int
is_again(const struct flow *f, __u32 attempt)
{
	const __u16 now = (__u16)(bpf_ktime_get_ns() >> TICK_SHIFT);
	const __u32 h = mix(mix(hash_remote(f, strangers_seed), f->port.local), attempt);
	const __u32 key = h % STRANGERS_SEEN, mark = mix(h, strangers_seed);
	struct stranger *seen = bpf_map_lookup_elem(&strangers, &key);
	__u16 age;

	if (!seen)
		return 0;
	age = now - seen->tick;
	if (seen->mark != mark || age > AGAIN_LAST) {
		*seen = (struct stranger) {.mark = mark, .tick = now};
		return 0;
	}
	if (seen->n < AGAIN_MOST)
		seen->n++;
	return age >= AGAIN_FIRST && seen->n < AGAIN_MOST;
}

static __always_inline __u32 *
known_at(const struct flow *f, __u32 *mark)
{
	const __u32 h = mix(hash_remote(f, strangers_seed), f->port.local), key = h % FLOWS_KNOWN;

	*mark = mix(h, strangers_seed);
	return bpf_map_lookup_elem(&known, &key);
}

/*
 * Whether a worker has spoken in this conversation, a reset excepted. One that
 * others have taken the place of is a stranger until the worker's next word.
 */
static __always_inline int
is_known(const struct flow *f)
{
	__u32 mark, *seen = known_at(f, &mark);

	return seen && *seen == mark;
}

/* Whether it is of a connection of ours to an address that the host had. */
static __always_inline int
is_lost(const struct flow *f)
{
	const struct qp_cls_local *l = bpf_map_lookup_elem(&local, &f->local);

	return l && !l->ifindex && f->protocol == IPPROTO_TCP && is_known(f);
}

/* A worker's frame, whose IP header is read: `f` has it as this host sees conversations. */
static __always_inline void
learn(struct __sk_buff *skb, struct flow *f)
{
	__u32 mark, *seen;
	__be16 sent_ports[2];
	__u8 flags;

	if (f->protocol != IPPROTO_TCP ||
		bpf_skb_load_bytes(skb, f->l4_off + TCP_FLAGS_AT, &flags, sizeof(flags)) < 0 ||
		(flags & TCP_RST) ||
		bpf_skb_load_bytes(skb, f->l4_off, sent_ports, sizeof(sent_ports)) < 0)
		return;
	f->port.local = sent_ports[0];
	f->port.remote = sent_ports[1];
	seen = known_at(f, &mark);
	if (seen && *seen != mark)
		*seen = mark;
}

/* The queue that a packet belongs into (common/classifier.h). */
static __always_inline __u8
queue_of(struct __sk_buff *skb, const struct flow *f, __u32 counter, int quoted)
{
	__u32 seq = 0;
	__u8 flags;

	if (quoted)
		return QP_CLS_QUEUE_UNKNOWN;
	if (counter == QP_CLS_quic_new)
		return is_again(f, 0) ? QP_CLS_QUEUE_AGAIN : QP_CLS_QUEUE_UNKNOWN;
	if (f->protocol != IPPROTO_TCP)
		return QP_CLS_QUEUE_FLOWS;
	if (bpf_skb_load_bytes(skb, f->l4_off + TCP_FLAGS_AT, &flags, sizeof(flags)) < 0)
		return QP_CLS_QUEUE_UNKNOWN;
	if ((flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return is_known(f) ? QP_CLS_QUEUE_FLOWS : QP_CLS_QUEUE_UNKNOWN;
	(void)bpf_skb_load_bytes(skb, f->l4_off + TCP_SEQ_AT, &seq, sizeof(seq));
	return is_again(f, seq) ? QP_CLS_QUEUE_AGAIN : QP_CLS_QUEUE_SYN;
}

static __always_inline struct datagram
datagram_of(const struct flow *f)
{
	return (struct datagram) {.local = f->local, .remote = f->remote, .id = f->frag_id};
}

/* Makes the frame's Ethernet header carry what the TAP and the data plane must know. */
static __always_inline int
mark_frame(struct __sk_buff *skb, __u32 l3_off, __u8 queue)
{
	const __u32 ifindex = skb->ifindex;
	const __u32 *known = bpf_map_lookup_elem(&links, &ifindex);
	const __u32 mtu = !known ? QP_CLS_MTU_UNKNOWN : *known < 0xffff ? *known : 0xffff;
	struct ethhdr eth = {
		.h_dest = {QP_CLS_MARK_0, QP_CLS_MARK_MTU, 0, queue, mtu >> 8, mtu & 0xff},
		.h_source = {QP_CLS_MARK_0, QP_CLS_MARK_LINK, ifindex >> 24, ifindex >> 16 & 0xff,
			ifindex >> 8 & 0xff, ifindex & 0xff},
		.h_proto = (__be16)skb->protocol,
	};

	/* An interface without link-layer headers, such as a tunnel: the TAP needs one. */
	if (l3_off == 0 && bpf_skb_change_head(skb, ETH_HLEN, 0) < 0)
		return -1;
	return (int)bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0);
}

/* A fragment that has no ports: it goes where the first one of its datagram went. */
static __always_inline int
classify_fragment(struct __sk_buff *skb, __u32 l3_off, const struct flow *f)
{
	const struct datagram key = datagram_of(f);
	const __u32 *ifindex = NULL;
	__u32 to;

	if (f->protocol == IPPROTO_UDP)
		ifindex = bpf_map_lookup_elem(&fragments, &key);
	if (!ifindex)
		return count(QP_CLS_fragment_pass, TC_ACT_UNSPEC);
	if (is_blocked(skb, f))
		return count(QP_CLS_blocked_drop, TC_ACT_SHOT);
	to = *ifindex;
	if (mark_frame(skb, l3_off, QP_CLS_QUEUE_FLOWS) < 0)
		return count(QP_CLS_nomem_drop, TC_ACT_SHOT);
	return count(QP_CLS_fragment, (int)bpf_redirect(to, 0));
}

static __always_inline int
classify(struct __sk_buff *skb, __u32 l3_off)
{
	const int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	struct flow f = {}, outer;
	struct owner o;
	enum parse_result r;
	__u32 reason;
	__u8 queue;
	int quoted = 0;

	/* A tagged frame comes by again at its VLAN's interface, without the tag. */
	if (skb->vlan_present || (!v6 && skb->protocol != bpf_htons(ETH_P_IP)))
		return count(QP_CLS_other_pass, TC_ACT_UNSPEC);
	r = parse_ip(skb, l3_off, v6, &f);
	if (r == PARSE_FRAGMENT)
		return classify_fragment(skb, l3_off, &f);
	if (r != PARSE_OK)
		return count(QP_CLS_other_pass, TC_ACT_UNSPEC);

	outer = f;
	if (f.protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		if (!is_icmp_error(skb, &f) || parse_quoted(skb, v6, &outer, &f) != PARSE_OK)
			return count(QP_CLS_other_pass, TC_ACT_UNSPEC);
		quoted = 1;
	} else if (f.protocol != IPPROTO_TCP && f.protocol != IPPROTO_UDP) {
		return count(QP_CLS_other_pass, TC_ACT_UNSPEC);
	} else if (bpf_skb_load_bytes(skb, f.l4_off, &f.port, sizeof(f.port)) < 0) {
		return count(QP_CLS_other_pass, TC_ACT_UNSPEC);
	}

	o = find_owner(skb, &f, quoted);
	if (o.counter == QP_CLS_other_pass)
		return count(QP_CLS_other_pass, TC_ACT_UNSPEC);
	if (!is_ours_to_take(skb, &outer, &reason)) {
		if (reason == QP_CLS_not_local_pass && !quoted && is_lost(&f))
			return count(QP_CLS_gone_drop, TC_ACT_SHOT);
		return count(reason, TC_ACT_UNSPEC);
	}
	if (is_blocked(skb, &outer))
		return count(QP_CLS_blocked_drop, TC_ACT_SHOT);
	if (o.ifindex == 0)
		return count(QP_CLS_no_worker_pass, TC_ACT_UNSPEC);
	if (outer.more && f.protocol == IPPROTO_UDP && o.counter == QP_CLS_port && !quoted) {
		const struct datagram key = datagram_of(&outer);

		bpf_map_update_elem(&fragments, &key, &o.ifindex, BPF_ANY);
	}
	queue = queue_of(skb, &f, o.counter, quoted);
	if (mark_frame(skb, l3_off, queue) < 0)
		return count(QP_CLS_nomem_drop, TC_ACT_SHOT);
	if (queue == QP_CLS_QUEUE_SYN)
		count(QP_CLS_syn_queued, 0);
	else if (queue == QP_CLS_QUEUE_AGAIN)
		count(QP_CLS_again_queued, 0);
	else if (queue == QP_CLS_QUEUE_UNKNOWN)
		count(QP_CLS_unknown_queued, 0);
	return count(quoted ? QP_CLS_icmp : o.counter, (int)bpf_redirect(o.ifindex, 0));
}

/* Ingress of an interface with Ethernet headers; lo has them, too. */
SEC("tc")
int
qp_ingress(struct __sk_buff *skb)
{
	return classify(skb, ETH_HLEN);
}

/* Ingress of an interface whose packets start with the IP header. */
SEC("tc")
int
qp_ingress_l3(struct __sk_buff *skb)
{
	return classify(skb, 0);
}

/* Hands a frame to the host as if `ifindex`, whose address is `mac`, had received it. */
static __always_inline int
to_host(struct __sk_buff *skb, __u32 ifindex, const __u8 mac[ETH_ALEN])
{
	if (bpf_skb_store_bytes(skb, 0, mac, ETH_ALEN, 0) < 0)
		return count(QP_CLS_answer_drop, TC_ACT_SHOT);
	return count(QP_CLS_answer_host, (int)bpf_redirect(ifindex, BPF_F_INGRESS));
}

/*
 * An answer leaves by the interface that the request came in by, as long as a
 * route leads back from there. If none does (the interface is gone, or the
 * host's routes changed), by the one that the host itself would take.
 */
static __always_inline __u32
way_out(__u32 ifindex, const struct qp_cls_addr *to)
{
	struct qp_cls_way key = {.prefix = 160, .ifindex = ifindex, .addr = *to};
	const __u32 *best;

	if (is_link_local(to))
		return ifindex;
	best = bpf_map_lookup_elem(&ways, &key);
	if (best && *best != QP_CLS_NO_WAY)
		return ifindex;
	key.ifindex = 0;
	best = bpf_map_lookup_elem(&ways, &key);
	if (!best || *best == QP_CLS_NO_WAY)
		return ifindex;
	count(QP_CLS_answer_other, 0);
	return *best;
}

/*
 * Ingress of a TAP: what its worker writes. Nothing passes on to the stack as
 * the TAP's own, so the TAP needs no address, route or sysctl.
 *
 * Answers to the host itself arrive by lo, as they would without us: the
 * kernel takes local sources from lo whatever rp_filter says. Link-local
 * ones belong to an interface.
 */
SEC("tc")
int
qp_tap(struct __sk_buff *skb)
{
	const int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	const __u8 lo_mac[ETH_ALEN] = {};
	const struct qp_cls_local *l;
	struct flow f, sent = {};
	enum parse_result r;
	__u8 dest[ETH_ALEN];
	__u32 ifindex;

	if (bpf_skb_load_bytes(skb, 0, dest, sizeof(dest)) < 0 || dest[0] != QP_CLS_MARK_0 ||
		dest[1] != QP_CLS_MARK_LINK || (!v6 && skb->protocol != bpf_htons(ETH_P_IP)))
		return count(QP_CLS_answer_drop, TC_ACT_SHOT);
	ifindex = (__u32)dest[2] << 24 | (__u32)dest[3] << 16 | (__u32)dest[4] << 8 | dest[5];
	if (ifindex == 0)
		return count(QP_CLS_answer_drop, TC_ACT_SHOT);
	r = parse_ip(skb, ETH_HLEN, v6, &sent);
	if (r == PARSE_OTHER)
		return count(QP_CLS_answer_drop, TC_ACT_SHOT);
	f = (struct flow) {
		.local = sent.remote,
		.remote = sent.local,
		.l4_off = sent.l4_off,
		.protocol = sent.protocol,
	};
	if (r == PARSE_OK)
		learn(skb, &f);
	if (ifindex != QP_CLS_LO_IFINDEX) {
		ifindex = way_out(ifindex, &f.remote);
		return count(QP_CLS_answer_out, (int)bpf_redirect_neigh(ifindex, NULL, 0, 0));
	}
	if (!v6 || !is_link_local(&f.remote))
		return to_host(skb, QP_CLS_LO_IFINDEX, lo_mac);
	l = local_now(&f.remote);
	if (!l)
		return count(QP_CLS_answer_drop, TC_ACT_SHOT);
	return to_host(skb, l->ifindex, l->mac);
}

char LICENSE[] SEC("license") = "Apache-2.0";
