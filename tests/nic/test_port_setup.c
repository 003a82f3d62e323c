/* SPDX-License-Identifier: Apache-2.0 */
/* Ports opened by what a device says that it can, on devices of DPDK's that need no hardware. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/nic/port_setup.h"
#include "dataplane/nic/port_setup_internal.h"

static void
start_eal(void)
{
	char *argv[] = {"test", "--no-huge", "-m", "192", "--no-pci", "--no-shconf",
		"--no-telemetry", "-l", "0", "--log-level", "critical", NULL};

	cr_assert_geq(rte_eal_init(RTE_DIM(argv) - 1, argv), 0, "EAL does not start");
}

/* What was asked of the pools' maker. */
struct pools {
	unsigned made;
	uint32_t min;
	uint16_t room;
	struct rte_mempool *pool;
};

static struct rte_mempool *
make_pool(void *ctx, uint16_t worker, int socket, uint32_t min, uint16_t data_room,
	struct qp_errmsg *msg)
{
	struct pools *p = ctx;
	char name[32];

	(void)msg;
	snprintf(name, sizeof(name), "pool%u", worker);
	p->made++;
	p->min = min;
	p->room = data_room;
	p->pool = rte_pktmbuf_pool_create(name, min, 0, 0, data_room, socket);
	return p->pool;
}

static struct rte_mempool *
no_pool(void *ctx, uint16_t worker, int socket, uint32_t min, uint16_t data_room,
	struct qp_errmsg *msg)
{
	(void)ctx, (void)worker, (void)socket, (void)min, (void)data_room;
	qp_fail(msg, QP_E_NOMEM, "no memory today");
	return NULL;
}

static struct qp_port_want
wanted(const char *devargs, struct pools *pools)
{
	*pools = (struct pools) {0};
	return (struct qp_port_want) {.devargs = devargs, .workers = 1, .slots = 4, .pool = make_pool,
		.ctx = pools};
}

struct text {
	char devargs[64];
	char name[32]; /* "": it is refused */
	int pci;
};

ParameterizedTestParameters(devargs, form_is_checked_before_any_device)
{
	static struct text t[] = {
		{"net_null0", "net_null0", 0},
		{"net_memif0,role=server,socket=/run/x.sock", "net_memif0", 0},
		{"0000:3b:00.0", "0000:3b:00.0", 1},
		{"3b:00.1", "0000:3b:00.1", 1},
		{"0001:AF:1f.7,safe-mode-support=1", "0001:af:1f.7", 1},
		{"", "", 0},
		{"eth0", "", 0},
		{",role=server", "", 0},
		{"net_memif0,", "", 0},
		{"net_memif0,role", "", 0},
		{"net_memif0,=x", "", 0},
		{"net_memif0,a=b,", "", 0},
		{"net_memif0 ,a=b", "", 0},
		{"net_null/0", "", 0},
		{"3b:00", "", 0},
		{"0000:3b:00.9x", "", 0},
	};

	return cr_make_param_array(struct text, t, sizeof(t) / sizeof(t[0]));
}

ParameterizedTest(struct text *t, devargs, form_is_checked_before_any_device)
{
	struct qp_errmsg msg = {""};
	char name[64];
	bool pci = false;
	int rc = qp_port_devargs_check(t->devargs, &pci, &msg);

	if (t->name[0] == '\0') {
		cr_expect_eq(rc, QP_E_INVAL, "%s", t->devargs);
		cr_expect_not_null(strstr(msg.text, t->devargs), "%s: %s", t->devargs, msg.text);
		return;
	}
	cr_expect_eq(rc, 0, "%s: %s", t->devargs, msg.text);
	cr_expect_eq(pci, t->pci != 0, "%s", t->devargs);
	qp_port_devargs_name(t->devargs, name);
	cr_expect_str_eq(name, t->name);
}

Test(devargs, text_that_is_too_long_is_refused)
{
	struct qp_errmsg msg = {""};
	char text[400];
	bool pci;

	memset(text, 'a', sizeof(text) - 1);
	memcpy(text, "net_null0,a=", 12);
	text[sizeof(text) - 1] = '\0';
	cr_expect_eq(qp_port_devargs_check(text, &pci, &msg), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, "255"), "%s", msg.text);
}

Test(setup, ring_receives_what_it_sends_on_each_pair)
{
	struct rte_mbuf *out, *in[4];
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg;

	start_eal();
	want = wanted("net_ring0", &pools);
	cr_assert_eq(qp_port_setup_open(&want, &port, &msg), 0, "%s", msg.text);
	cr_expect_str_eq(port.name, "net_ring0");
	cr_expect_str_eq(port.driver, "net_ring");
	cr_expect_eq(port.nslots, 4);
	cr_expect_eq(port.ntx, 4);
	cr_expect_eq(port.nrx, 4, "without RSS nobody says which queues receive");
	cr_expect_eq(port.max_frame_bytes, 0, "it cuts nothing");
	cr_expect_eq(port.mtu, 1500);
	cr_expect_eq(port.tx_offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 0, "it knows no MTU");
	cr_expect_neq(port.link_mbps, 0);
	cr_expect_eq(pools.made, 1, "a pool a worker");
	for (uint16_t q = 0; q < 4; q++) {
		cr_expect_eq(qp_nic_tx_queue(&port, q, 0), q);
		out = rte_pktmbuf_alloc(pools.pool);
		cr_assert_not_null(rte_pktmbuf_append(out, 60));
		cr_expect_eq(rte_eth_tx_burst(port.port_id, q, &out, 1), 1);
		cr_assert_eq(rte_eth_rx_burst(port.port_id, q, in, 4), 1, "queue %u", q);
		cr_expect_eq(in[0], out);
		rte_pktmbuf_free(in[0]);
	}
	qp_port_setup_close(port.port_id);
	cr_expect_eq(rte_eth_dev_count_avail(), 0);
}

Test(setup, workers_and_generations_have_transmit_queues_of_their_own)
{
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg;
	bool used[64] = {false};

	start_eal();
	want = wanted("net_null0", &pools);
	want.workers = 3;
	want.slots = 2;
	cr_assert_eq(qp_port_setup_open(&want, &port, &msg), 0, "%s", msg.text);
	cr_expect_eq(port.ntx, 6);
	cr_expect_eq(port.nrx, 3, "it has RSS");
	cr_expect_eq(pools.made, 3);
	for (uint32_t slot = 0; slot < port.nslots; slot++) {
		for (uint32_t w = 0; w < 3; w++) {
			uint16_t q = qp_nic_tx_queue(&port, slot, w);

			cr_assert_lt(q, port.ntx);
			cr_expect_not(used[q]);
			used[q] = true;
		}
	}
	qp_port_setup_close(port.port_id);
}

Test(setup, device_with_few_queues_serves_fewer_generations_and_workers)
{
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg;
	char devargs[128];

	start_eal();
	snprintf(devargs, sizeof(devargs), "net_pcap0,rx_pcap=/dev/null,tx_pcap=/tmp/qp-nic-%d.pcap",
		getpid());
	want = wanted(devargs, &pools);
	cr_expect_neq(qp_port_setup_open(&want, &port, &msg), 0, "/dev/null is no capture");
	snprintf(devargs, sizeof(devargs), "net_pcap0,tx_pcap=/tmp/qp-nic-%d.pcap", getpid());
	want = wanted(devargs, &pools);
	want.workers = 2;
	cr_assert_eq(qp_port_setup_open(&want, &port, &msg), 0, "%s", msg.text);
	cr_expect_eq(port.ntx, 1);
	cr_expect_eq(port.nrx, 1);
	cr_expect_eq(port.nslots, 1);
	qp_port_setup_close(port.port_id);
	snprintf(devargs, sizeof(devargs), "/tmp/qp-nic-%d.pcap", getpid());
	unlink(devargs);
}

static uint16_t most_tx = UINT16_MAX; /* queues that a device takes, whatever it says */

int __real_rte_eth_dev_configure(uint16_t id, uint16_t nrx, uint16_t ntx, const struct rte_eth_conf *conf);
int __wrap_rte_eth_dev_configure(uint16_t id, uint16_t nrx, uint16_t ntx, const struct rte_eth_conf *conf);

int
__wrap_rte_eth_dev_configure(uint16_t id, uint16_t nrx, uint16_t ntx, const struct rte_eth_conf *conf)
{
	return ntx > most_tx ? -EINVAL : __real_rte_eth_dev_configure(id, nrx, ntx, conf);
}

/* As iavf does, which its host gives fewer than it says. */
Test(setup, device_that_refuses_its_own_number_of_queues_serves_fewer_generations)
{
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg;

	start_eal();
	want = wanted("net_null0", &pools);
	want.workers = 3;
	most_tx = 8;
	cr_assert_eq(qp_port_setup_open(&want, &port, &msg), 0, "%s", msg.text);
	cr_expect_eq(port.nslots, 2);
	cr_expect_eq(port.ntx, 6);
	qp_port_setup_close(port.port_id);
	most_tx = 2;
	cr_expect_eq(qp_port_setup_open(&want, &port, &msg), QP_E_INVAL);
	cr_expect_not_null(strstr(msg.text, "3 transmit queues"), "%s", msg.text);
}

Test(setup, jumbo_frames_get_buffers_that_hold_them)
{
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg;

	start_eal();
	want = wanted("net_null0", &pools);
	want.mtu = 9000;
	cr_assert_eq(qp_port_setup_open(&want, &port, &msg), 0, "%s", msg.text);
	cr_expect_eq(port.mtu, 9000);
	cr_expect_geq(pools.room, 9000 + 18 + RTE_PKTMBUF_HEADROOM, "it cannot chain them");
	qp_port_setup_close(port.port_id);
}

/* As virtio without mergeable buffers: what is joined would not fit. */
Test(offloads, segments_are_joined_by_a_device_that_can_chain_buffers_only)
{
	const struct qp_port_want want = {.mtu = 1500};
	struct qp_setup s = {.want = &want, .has_mtu = true};

	s.info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
	qp_setup_offloads(&s);
	cr_expect_eq(s.conf.rxmode.offloads, RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
	s.info.rx_offload_capa |= RTE_ETH_RX_OFFLOAD_SCATTER;
	qp_setup_offloads(&s);
	cr_expect_eq(s.conf.rxmode.offloads, s.info.rx_offload_capa);
}

/* virtio counts a header of its own as part of what its buffers are to hold. */
Test(offloads, buffers_are_chained_where_a_drivers_header_would_not_fit)
{
	struct qp_port_want want = {.mtu = 2048 - 18 - 12};
	struct qp_setup s = {.want = &want, .has_mtu = true};

	s.info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_SCATTER;
	qp_setup_offloads(&s);
	cr_expect_eq(s.conf.rxmode.offloads, 0);
	want.mtu++;
	qp_setup_offloads(&s);
	cr_expect_eq(s.conf.rxmode.offloads, RTE_ETH_RX_OFFLOAD_SCATTER);
}

struct failing {
	char devargs[64];
	int err;
	char says[32];
};

ParameterizedTestParameters(setup, failure_names_the_port)
{
	static struct failing f[] = {
		{"net_foo0", QP_E_NOTFOUND, "net_foo0"},
		{"0000:ff:1f.7", QP_E_NOTFOUND, "bind-nic.sh"},
		{"net_memif0,role=boss", QP_E_NOTFOUND, "role=boss"},
		{"eth0", QP_E_INVAL, "eth0"},
	};

	return cr_make_param_array(struct failing, f, sizeof(f) / sizeof(f[0]));
}

ParameterizedTest(struct failing *f, setup, failure_names_the_port)
{
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg = {""};

	start_eal();
	want = wanted(f->devargs, &pools);
	cr_expect_eq(qp_port_setup_open(&want, &port, &msg), f->err, "%s", msg.text);
	cr_expect_not_null(strstr(msg.text, f->says), "%s", msg.text);
	cr_expect_eq(rte_eth_dev_count_avail(), 0);
}

Test(setup, without_memory_nothing_stays)
{
	struct qp_port_want want;
	struct qp_nic_port port;
	struct pools pools;
	struct qp_errmsg msg = {""};

	start_eal();
	want = wanted("net_ring0", &pools);
	want.pool = no_pool;
	cr_expect_eq(qp_port_setup_open(&want, &port, &msg), QP_E_NOMEM);
	cr_expect_str_eq(msg.text, "no memory today");
	cr_expect_eq(rte_eth_dev_count_avail(), 0);
	want.pool = make_pool;
	cr_expect_eq(qp_port_setup_open(&want, &port, &msg), 0, "again: %s", msg.text);
}
