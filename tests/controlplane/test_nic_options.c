/* SPDX-License-Identifier: Apache-2.0 */
/* The options of dedicated ports: what is taken, what is refused and how, what data planes read of it. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/nicnet.h"
#include "controlplane/options.h"

#define PORT "--port net_tap0,iface=a "
#define PORTS PORT "--port net_ring1 "

static int
parse(struct qp_options *o, struct qp_errmsg *msg, const char *line)
{
	static char copies[16][1024], name[] = "control-plane";
	static unsigned used;
	char *argv[48] = {name}, *save = NULL, *text = copies[used++ % 16];
	int argc = 1;

	snprintf(text, sizeof(copies[0]), "%s", line);
	for (char *t = strtok_r(text, " ", &save); t != NULL; t = strtok_r(NULL, " ", &save))
		argv[argc++] = t;
	return qp_options_parse(o, argc, argv, msg);
}

static struct in6_addr
ip(const char *text)
{
	struct in6_addr a;

	cr_assert_eq(qp_ip_parse_text(text, &a, NULL), 0, "%s", text);
	return a;
}

static void
start(void)
{
	cr_assert_eq(qp_keys_init(), 0);
}

TestSuite(nic_options, .init = start);

Test(nic_options, without_a_port_all_is_host_mode)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, ""), 0, "%s", msg.text);
	cr_expect_not(qp_nic_mode(&o.nic));
	qp_options_free(&o);
}

Test(nic_options, all_of_it_is_told_longest_prefix_first)
{
	struct qp_options o;
	struct qp_errmsg msg;
	struct qp_nic_net net = {.seq = 7};
	struct in6_addr a;

	cr_assert_eq(parse(&o, &msg,
			     PORTS "--ip 192.0.2.1/24 --ip 2001:db8::1/64 --ip 198.51.100.1/30@1 "
				   "--gateway 192.0.2.254 --gateway fe80::1@1 --route 10.0.0.0/8=198.51.100.2 "
				   "--route 192.0.2.128/25=192.0.2.3 --vlan 12 --vlan 7@1 --mtu 9000@1 --accept-ra --port-generations 3"),
		0, "%s", msg.text);
	cr_assert(qp_nic_mode(&o.nic));
	qp_nic_options_net(&o.nic, &net);
	cr_expect_eq(net.seq, 7u);
	cr_expect_eq(net.nlinks, 2u);
	cr_expect_eq(net.naddrs, 3u);
	cr_expect(net.link[0].vlan == 12 && net.link[1].vlan == 7);
	cr_expect(net.link[0].mtu == 1500 && net.link[1].mtu == 9000);
	cr_expect(net.link[0].accept_ra && net.link[1].accept_ra);
	cr_expect_eq(o.nic.generations, 3u);
	cr_assert_eq(net.nroutes, 7u);
	for (unsigned i = 1; i < net.nroutes; i++)
		cr_expect(net.route[i].prefix <= net.route[i - 1].prefix);
	cr_expect_eq(net.route[0].prefix, 126, "198.51.100.0/30");
	a = ip("198.51.100.0");
	cr_expect_eq(memcmp(&net.route[0].dest, &a, sizeof(a)), 0, "host bits are cut");
	cr_expect_eq(net.route[0].port, 1);
	cr_expect_eq(net.route[1].prefix, 121);
	cr_expect_eq(net.route[3].prefix, 104, "10.0.0.0/8");
	cr_expect_eq(net.route[3].port, 1, "by the port that its router is on");
	cr_expect(net.route[4].prefix == 96 && net.route[4].port == 0);
	cr_expect(net.route[6].prefix == 0 && net.route[6].port == 1);
	qp_options_free(&o);
}

Test(nic_options, lcores_imply_the_number_of_workers)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, "--lcores 2-4,8"), 0, "%s", msg.text);
	cr_expect_eq(o.workers, 4u);
	cr_expect(o.nic.nlcores == 4 && o.nic.lcore[2] == 4 && o.nic.lcore[3] == 8);
	qp_options_free(&o);
	cr_assert_eq(parse(&o, &msg, "--lcores 2-4,8 --workers 4"), 0, "%s", msg.text);
	qp_options_free(&o);
}

struct refusal {
	char line[200], names[64], way_out[64];
};

ParameterizedTestParameters(nic_options, mistake_names_the_value_and_the_way_out)
{
	static struct refusal r[] = {
		{"--ip 192.0.2.1/24", "--ip", "add --port"},
		{"--accept-ra", "--accept-ra", "add --port"},
		{"--mtu 1400", "--mtu", "add --port"},
		{"--port-generations 2", "--port-generations", "add --port"},
		{PORT "--ip 192.0.2.1/24 --port-generations 1", "--port-generations", "2"},
		{PORT "--ip 192.0.2.1/24 --port-generations 5", "--port-generations", "4"},
		{PORT, "net_tap0", "add --ip ADDR/LEN"},
		{PORT "--ip 192.0.2.1", "192.0.2.1", "ADDR/LEN"},
		{PORT "--ip 192.0.2.1/33", "192.0.2.1/33", "ADDR/LEN"},
		{PORT "--ip 192.0.2.1/24@x", "192.0.2.1/24@x", "ADDR/LEN@PORT"},
		{PORT "--ip 192.0.2.1/24@1", "192.0.2.1/24@1", "from 0 to 0"},
		{PORT "--ip 192.0.2.0/24", "192.0.2.0/24", "192.0.2.1/24"},
		{PORT "--ip 192.0.2.255/24", "192.0.2.255/24", "192.0.2.1/24"},
		{PORT "--ip 224.0.0.5/24", "224.0.0.5", "no host"},
		{PORT "--ip 127.0.0.1/8", "127.0.0.1", "no host"},
		{PORT "--ip ff02::1/64", "ff02::1", "no host"},
		{PORT "--ip 192.0.2.1/24 --ip 192.0.2.1/25", "192.0.2.1", "leave one out"},
		{PORT "--ip 192.0.2.1/24 --gateway 203.0.113.1", "203.0.113.1", "on the link"},
		{PORT "--ip 192.0.2.1/24 --gateway 192.0.2.1", "192.0.2.1", "no router"},
		{PORT "--ip 192.0.2.1/24 --gateway 192.0.2.2 --gateway 192.0.2.3", "192.0.2.3", "--route"},
		{PORT "--ip 192.0.2.1/24 --gateway fe80::1@3", "fe80::1@3", "from 0 to 0"},
		{PORT "--ip 192.0.2.1/24 --route 10.0.0.0/8", "10.0.0.0/8", "NET/LEN=VIA"},
		{PORT "--ip 192.0.2.1/24 --route 10.0.0.0/8=fe80::1", "10.0.0.0/8=fe80::1", "one family"},
		{PORT "--ip 192.0.2.1/24 --route 10.0.0.0/8=192.0.2.2 --route 10.1.0.0/8=192.0.2.3",
			"--route 10.1.0.0/8", "leave one out"},
		{PORT "--ip 192.0.2.1/24 --vlan 4095", "4095", "from 1 to 4094"},
		{PORT "--ip 192.0.2.1/24 --vlan 5@2", "5@2", "from 0 to 0"},
		{PORT "--ip 192.0.2.1/24 --mtu 575", "575", "from 576"},
		{PORT "--ip 192.0.2.1/24 --mtu 65001", "65001", "to 65000"},
		{PORT "--ip 2001:db8::1/64 --mtu 1279", "1279", "1280"},
		{PORT "--ip 192.0.2.1/24 --interface eth0", "eth0", "leave one of the two out"},
		{PORT "--ip 192.0.2.1/24 --data-plane-addr 192.0.2.2:39000", "192.0.2.2", "0.0.0.0"},
		{PORT "--ip 192.0.2.1/24 --forward-addr 192.0.2.2", "192.0.2.2", "leave it out"},
		{"--lcores 4-2", "4-2", "numbers of CPUs"},
		{"--lcores 2,2", "2,2", "each once"},
		{"--lcores 0-16", "0-16", "at most 16"},
		{"--lcores ,", "','", "numbers of CPUs"},
		{"--lcores 0-3 --workers 2", "--workers 2", "leave one"},
		{"--port -x", "-x", "a PCI address"},
		{"--port eth0", "eth0", "a PCI address"},
		{"--port 0000:03", "0000:03", "a PCI address"},
		{PORT "--ip 192.0.2.1/24 --gateway 192.0.2.255", "192.0.2.255", "no router"},
		{PORT "--ip 192.0.2.1/24 --route 10.0.0.0/8=192.0.2.0", "192.0.2.0", "no router"},
		{PORT "--ip 192.0.2.1/24 --accept-ra --mtu 1279", "--accept-ra", "1280"},
	};

	return cr_make_param_array(struct refusal, r, sizeof(r) / sizeof(r[0]));
}

ParameterizedTest(struct refusal *r, nic_options, mistake_names_the_value_and_the_way_out)
{
	struct qp_options o;
	struct qp_errmsg msg = {""};

	cr_assert_eq(parse(&o, &msg, r->line), QP_E_INVAL, "%s", r->line);
	cr_expect(strstr(msg.text, r->names) != NULL, "%s: %s", r->line, msg.text);
	cr_expect(strstr(msg.text, r->way_out) != NULL, "%s: %s", r->line, msg.text);
}

Test(nic_options, edges_of_small_networks_are_hosts)
{
	struct qp_options o;
	struct qp_errmsg msg;

	cr_assert_eq(parse(&o, &msg, PORT "--ip 192.0.2.0/31 --ip 192.0.2.7/32 --ip 2001:db8::/64"), 0,
		"%s", msg.text);
	qp_options_free(&o);
}

struct way {
	char dest[40];
	int err;
	unsigned port;
	char source[40];
};

ParameterizedTestParameters(nic_options, route_is_the_longest_and_its_source_is_on_the_link)
{
	static struct way w[] = {
		{"192.0.2.9", 0, 0, "192.0.2.1"},
		{"203.0.113.9", 0, 0, "192.0.2.1"},
		{"10.1.2.3", 0, 1, "198.51.100.1"},
		{"2001:db8::5", 0, 0, "2001:db8::1"},
		{"2001:db8:9::5", QP_E_NOTFOUND, 0, ""},
		{"192.0.2.1", QP_E_UNSUPPORTED, 0, ""},
		{"127.0.0.1", QP_E_UNSUPPORTED, 0, ""},
		{"::1", QP_E_UNSUPPORTED, 0, ""},
		{"224.0.0.1", QP_E_INVAL, 0, ""},
		{"ff02::1", QP_E_INVAL, 0, ""},
		{"0.0.0.0", QP_E_INVAL, 0, ""},
	};

	return cr_make_param_array(struct way, w, sizeof(w) / sizeof(w[0]));
}

ParameterizedTest(struct way *w, nic_options, route_is_the_longest_and_its_source_is_on_the_link)
{
	struct qp_options o;
	struct qp_errmsg msg;
	struct qp_nic_net net = {.seq = 0};
	struct qp_hostnet_route out;
	struct in6_addr dest = ip(w->dest);

	cr_assert_eq(parse(&o, &msg,
			     PORTS "--ip 192.0.2.1/24 --ip 2001:db8::1/64 --ip 198.51.100.1/30@1 "
				   "--gateway 192.0.2.254 --route 10.0.0.0/8=198.51.100.2 --mtu 1400@1"),
		0, "%s", msg.text);
	qp_nic_options_net(&o.nic, &net);
	qp_options_free(&o);
	cr_assert_eq(qp_nicnet_route(&net, &dest, &out, &msg), w->err, "%s", w->dest);
	if (w->err != 0) {
		cr_expect(strstr(msg.text, w->dest) != NULL, "%s", msg.text);
		return;
	}
	struct in6_addr source = ip(w->source);
	cr_expect_eq(out.ifindex, QP_NIC_IFINDEX(w->port));
	cr_expect_eq(out.mtu, w->port == 1 ? 1400u : 1500u);
	cr_expect_eq(memcmp(&out.source, &source, sizeof(source)), 0);
}

Test(nic_options, advertised_router_is_a_way_for_ipv6_alone)
{
	struct qp_options o;
	struct qp_errmsg msg;
	struct qp_nic_net net = {.seq = 0};
	struct qp_hostnet_route out;
	struct in6_addr six = ip("2001:db8:9::5"), four = ip("203.0.113.9");

	cr_assert_eq(parse(&o, &msg, PORTS "--ip 192.0.2.1/24 --ip 2001:db8::1/64@1 --accept-ra"), 0,
		"%s", msg.text);
	qp_nic_options_net(&o.nic, &net);
	qp_options_free(&o);
	cr_assert_eq(qp_nicnet_route(&net, &six, &out, &msg), 0);
	cr_expect_eq(out.ifindex, QP_NIC_IFINDEX(1u));
	cr_assert_eq(qp_nicnet_route(&net, &four, &out, &msg), QP_E_NOTFOUND);
}
