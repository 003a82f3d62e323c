/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Own addresses: which are ours, which speaks to whom best, who cannot be a
 * source, and what happens when another host has one too. Runs on the lcore.
 */
#define QP_LOG_MODULE QP_LOG_M_worker
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "dataplane/net/internal.h"

#define DAD_NS     QP_NET_SEC_NS        /* one probe, RetransTimer (RFC 4862, 5.1; RFC 4861, 10) */
#define CHECK_NS   (5 * QP_NET_SEC_NS)  /* slow ones are heard, and a lcore that was told to ask late */
#define DEFEND_NS  (10 * QP_NET_SEC_NS) /* RFC 5227, 1.1 */
#define LOG_NS     (60 * QP_NET_SEC_NS)

struct qp_net_own *
qp_net_own_find(struct qp_net *net, const struct qp_ipaddr *addr)
{
	if (!(net->own_bits & qp_net_bit(addr)))
		return NULL;
	for (unsigned i = 0; i < net->nown; i++) {
		if (qp_ipaddr_equal(&net->own[i].addr, addr))
			return &net->own[i];
	}
	return NULL;
}

struct qp_net_own *
qp_net_own_here(struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	for (unsigned i = 0; i < net->nown; i++) {
		if (net->own[i].port == port && qp_ipaddr_equal(&net->own[i].addr, addr))
			return &net->own[i];
	}
	return NULL;
}

const struct qp_net_own *
qp_net_own_valid(const struct qp_net *net, const struct qp_ipaddr *addr)
{
	if (!(net->own_bits & qp_net_bit(addr)))
		return NULL;
	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if (qp_ipaddr_equal(&own->addr, addr) && own->state == QP_OWN_VALID)
			return own;
	}
	return NULL;
}

/* They are tentative for a second, all together: one more of it harms none. */
static void
dad_over(struct qp_timer *t, uint64_t now_ns)
{
	struct qp_net *net = RTE_PTR_SUB(t, offsetof(struct qp_net, dad));

	for (unsigned i = 0; i < net->nown; i++) {
		if (net->own[i].state == QP_OWN_TENTATIVE)
			net->own[i].state = QP_OWN_VALID;
	}
}

/* `before`: what there was, so that what stays keeps what is known of it. */
static void
own_add(struct qp_net *net, const struct qp_net_own *before, unsigned nbefore,
	const struct qp_net_own *new, bool fresh)
{
	struct qp_net_own *own = &net->own[net->nown];

	if (net->nown == QP_NET_MAX_OWN || new->port >= net->nports || new->prefix > 128 ||
		qp_net_own_here(net, new->port, &new->addr) != NULL)
		return;
	net->nown++;
	*own = *new;
	for (unsigned i = 0; i < nbefore; i++) {
		if (before[i].port == new->port && qp_ipaddr_equal(&before[i].addr, &new->addr)) {
			own->state = before[i].state;
			own->checked_ns = before[i].checked_ns;
			own->defended_ns = before[i].defended_ns;
			own->logged_ns = before[i].logged_ns;
			return;
		}
	}
	if (fresh && !qp_ipaddr_is_v4(&own->addr)) {
		own->state = QP_OWN_TENTATIVE;
		own->checked_ns = *net->env.now_ns + CHECK_NS;
	}
}

/* The last address of an IPv4 network that has one for all (RFC 1122, 3.2.1.3); false: it has none. */
static bool
broadcast_of(const struct qp_net_own *own, struct qp_ipaddr *out)
{
	if (own->prefix < 96 || own->prefix > 126 || !qp_ipaddr_is_v4(&own->addr))
		return false;
	*out = own->addr;
	out->w[3] |= htonl(UINT32_MAX >> (own->prefix - 96));
	return true;
}

static void
set_bits(struct qp_net *net)
{
	struct qp_ipaddr last;

	net->own_bits = net->broadcast_bits = 0;
	for (unsigned i = 0; i < net->nown; i++) {
		net->own_bits |= qp_net_bit(&net->own[i].addr);
		if (broadcast_of(&net->own[i], &last))
			net->broadcast_bits |= qp_net_bit(&last);
	}
}

/* RFC 4291, 2.5.6 and appendix A: fe80::/64 and the MAC address as an EUI-64. */
static struct qp_ipaddr
link_local(const uint8_t mac[6])
{
	return (struct qp_ipaddr) {.b = {0xfe, 0x80, [8] = mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe,
		mac[3], mac[4], mac[5]}};
}

static bool
speaks_v6(const struct qp_net *net, unsigned port)
{
	if (net->link[port].mtu < QP_NET_V6_MIN_MTU)
		return false;
	for (unsigned i = 0; i < net->nown; i++) {
		if (net->own[i].port == port && !qp_ipaddr_is_v4(&net->own[i].addr))
			return true;
	}
	return net->link[port].accept_ra != 0;
}

void
qp_net_own_set(struct qp_net *net, bool fresh)
{
	const struct qp_nic_net *from = &net->conf;
	struct qp_net_own before[QP_NET_MAX_OWN], new;
	const unsigned nbefore = net->nown;

	memcpy(before, net->own, sizeof(before));
	net->nown = 0;
	for (unsigned i = 0; i < RTE_MIN(from->naddrs, QP_NIC_MAX_ADDRS); i++) {
		new = (struct qp_net_own) {.prefix = from->addr[i].prefix, .port = from->addr[i].port,
			.index = (uint8_t)i};
		memcpy(&new.addr, &from->addr[i].addr, sizeof(new.addr));
		own_add(net, before, nbefore, &new, fresh);
	}
	for (unsigned p = 0; p < net->nports; p++) {
		new = (struct qp_net_own) {.addr = link_local(net->port[p].mac), .prefix = 64,
			.port = (uint8_t)p, .index = QP_NET_NO_ADDR};
		if (speaks_v6(net, p))
			own_add(net, before, nbefore, &new, fresh);
	}
	set_bits(net);
	net->counters.duplicates = 0;
	for (unsigned i = 0; i < net->nown; i++) {
		net->counters.duplicates += net->own[i].state == QP_OWN_DUPLICATE;
		if (net->own[i].state == QP_OWN_TENTATIVE) {
			net->dad.fn = dad_over;
			qp_timer_arm(net->env.wheel, &net->dad, *net->env.now_ns + DAD_NS);
		}
	}
}

static void
log_conflict(const struct qp_net *net, struct qp_net_own *own, const uint8_t mac[6])
{
	const uint64_t now = *net->env.now_ns;
	char text[18], addr[INET6_ADDRSTRLEN] = "";

	if (own->logged_ns != 0 && now - own->logged_ns < LOG_NS)
		return;
	own->logged_ns = now;
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		mac[4], mac[5]);
	if (qp_ipaddr_is_v4(&own->addr))
		inet_ntop(AF_INET, &own->addr.w[3], addr, sizeof(addr));
	else
		inet_ntop(AF_INET6, &own->addr, addr, sizeof(addr));
	if (own->state == QP_OWN_DUPLICATE)
		qp_log(QP_LOG_ERROR, "address not used: another host has it; remove it there, or from --ip",
			QP_LOG_STR("address", addr), QP_LOG_U64("port", own->port),
			QP_LOG_STR("mac", text));
	else
		qp_log(QP_LOG_WARN, "another host claims an address of ours",
			QP_LOG_STR("address", addr), QP_LOG_U64("port", own->port),
			QP_LOG_STR("mac", text));
}

void
qp_net_own_conflict(struct qp_net *net, struct qp_net_own *own, const uint8_t mac[6], bool copy)
{
	const uint64_t now = *net->env.now_ns;

	if (own->state != QP_OWN_DUPLICATE && now < own->checked_ns) {
		own->state = QP_OWN_DUPLICATE;
		QP_NET_COUNT(net, duplicates);
	}
	if (copy)
		return;
	QP_NET_COUNT(net, conflicts);
	log_conflict(net, own, mac);
	/* RFC 5227, 2.4 (c): it stays ours, and we say so, but not all the time. */
	if (qp_ipaddr_is_v4(&own->addr) &&
		(own->defended_ns == 0 || now - own->defended_ns >= DEFEND_NS)) {
		own->defended_ns = now;
		qp_arp_announce(net, own, false);
	}
}

static bool
same_family(const struct qp_ipaddr *a, const struct qp_ipaddr *b)
{
	return qp_ipaddr_is_v4(a) == qp_ipaddr_is_v4(b);
}

bool
qp_net_on_link(const struct qp_net *net, unsigned port, const struct qp_ipaddr *addr)
{
	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if (own->port == port && same_family(&own->addr, addr) &&
			qp_net_prefix_match(&own->addr, addr, own->prefix))
			return true;
	}
	return false;
}

/* RFC 6724, 2.1, the rows that matter: unique local, 6to4, Teredo; the rest. */
static unsigned
label(const struct qp_ipaddr *a)
{
	if ((a->b[0] & 0xfe) == 0xfc)
		return 13;
	if (a->w[0] == htonl(0x20010000))
		return 5;
	return a->b[0] == 0x20 && a->b[1] == 0x02 ? 2 : 1;
}

static unsigned
common_prefix(const struct qp_ipaddr *a, const struct qp_ipaddr *b)
{
	unsigned n = 0;

	while (n < 128 && ((a->b[n / 8] ^ b->b[n / 8]) & 0x80 >> n % 8) == 0)
		n++;
	return n;
}

/* RFC 6724, 5: rules 2 (scope), 6 (label) and 8 (longest common prefix); the larger is better. */
static unsigned
merit(const struct qp_net_own *own, const struct qp_ipaddr *target)
{
	const bool scope = qp_ipaddr_is_link_local(&own->addr) == qp_ipaddr_is_link_local(target);

	return (scope ? 1024u : 0) + (label(&own->addr) == label(target) ? 512u : 0) +
	       RTE_MIN(common_prefix(&own->addr, target), (unsigned)own->prefix) + 1;
}

const struct qp_net_own *
qp_net_own_for(const struct qp_net *net, unsigned port, const struct qp_ipaddr *target)
{
	const struct qp_net_own *best = NULL;
	unsigned most = 0;

	for (unsigned i = 0; i < net->nown; i++) {
		const struct qp_net_own *own = &net->own[i];

		if ((port != QP_NET_NO_PORT && own->port != port) || own->state != QP_OWN_VALID ||
			!same_family(&own->addr, target))
			continue;
		if (merit(own, target) > most) {
			most = merit(own, target);
			best = own;
		}
	}
	return best;
}

static bool
directed_broadcast(const struct qp_net *net, const struct qp_ipaddr *a)
{
	struct qp_ipaddr last;

	if (!(net->broadcast_bits & qp_net_bit(a)))
		return false;
	for (unsigned i = 0; i < net->nown; i++) {
		if (broadcast_of(&net->own[i], &last) && qp_ipaddr_equal(&last, a))
			return true;
	}
	return false;
}

bool
qp_net_martian(const struct qp_net *net, const struct qp_ipaddr *source)
{
	if (qp_ipaddr_is_v4(source))
		return source->b[12] == 0 || source->b[12] == 127 || source->b[12] >= 224 ||
		       directed_broadcast(net, source);
	/* Multicast; ::/96 with :: and ::1, which no host of this century has. */
	return source->b[0] == 0xff || (source->q[0] == 0 && source->w[2] == 0);
}
