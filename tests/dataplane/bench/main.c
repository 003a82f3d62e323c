/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the data-plane lcore costs (bench.h), one question a run:
 *   bench_lcore [options] bulk-in | bulk-out | short | handshakes | tunnels
 * One line a round and one of medians. `ratio_to_seal` is the lcore's whole cost
 * a byte over that of sealing the same bytes in packets of 1,452 bytes.
 */
#include "common/clock.h"
#include "tests/dataplane/bench/bench.h"

#include <getopt.h>
#include <rte_mbuf.h>
#include <string.h>

#include "dataplane/worker_internal.h"

#define MAX_ROUNDS 99
#define LIMIT_NS UINT64_C(600000000000)

static struct {
	unsigned rounds, conns, clients;
	uint64_t amount; /* MiB, connections or handshakes a round */
	uint32_t request;
} opt = {.rounds = 7, .conns = 1, .clients = 1, .request = 64};

/* Everybody's turn once. */
static void
turn(void)
{
	struct bench_slot slot = {0};
	const uint8_t *frame;

	bench_clients_turn();
	bench_outside_turn();
	bench_gateway_turn();
	while ((frame = bench_wire_peek(&bench_from_gateway, &slot)) != NULL) {
		if (slot.tcp) {
			bench_outside_receive();
			continue;
		}
		bench_clients_receive(frame, &slot);
		bench_wire_pop(&bench_from_gateway);
	}
}

#define turn_until(cond)                                                                           \
	do {                                                                                       \
		uint64_t limit_ = qp_now_ns() + LIMIT_NS;                                 \
		while (!(cond)) {                                                                  \
			must(qp_now_ns() < limit_);                                       \
			turn();                                                                    \
		}                                                                                  \
	} while (0)

static void
open_tunnels(void)
{
	for (unsigned i = 0; i < opt.clients; i++)
		bench_client_add(BENCH_STAYS);
	turn_until(bench_clients.open == opt.clients);
}

/* What a round is about: how much of it has been done so far. */
static uint64_t
bytes_in(void)
{
	return bench_clients.received;
}

static uint64_t
bytes_out(void)
{
	return bench_outside.received;
}

static uint64_t
conns_ended(void)
{
	return bench_outside.ended;
}

static uint64_t
handshakes(void)
{
	return bench_counters()->c.quic_handshakes;
}

static void
start_bulk(enum bench_client_does does)
{
	bench_clients.does = does;
	open_tunnels();
	for (unsigned i = 0; i < opt.conns; i++)
		bench_outside_connect(i % opt.clients, does == BENCH_SWALLOWS, 1);
}

static void
start_bulk_in(void)
{
	start_bulk(BENCH_SWALLOWS);
}

static void
start_bulk_out(void)
{
	start_bulk(BENCH_POURS);
}

static void
start_short(void)
{
	bench_clients.does = BENCH_ANSWERS;
	bench_clients.bytes = opt.request;
	open_tunnels();
}

static void
more_short(void)
{
	while (bench_outside.open < opt.conns)
		bench_outside_connect(bench_outside.open % opt.clients, false, opt.request);
}

static void
start_nothing(void)
{
}

static void
more_handshakes(void)
{
	static uint64_t begun;

	for (; begun - bench_clients.handshakes < opt.conns; begun++)
		bench_client_add(BENCH_SHAKES_HANDS);
}

static uint64_t
tunnels(void)
{
	return bench_clients.open;
}

static void
more_tunnels(void)
{
	static uint64_t begun;

	for (; begun - bench_clients.open < opt.conns; begun++)
		bench_client_add(BENCH_COMES_IN);
}

static void
more_nothing(void)
{
}

static const struct question {
	const char *name, *unit;
	void (*start)(void);
	void (*more)(void);
	uint64_t (*done)(void);
	uint64_t scale, amount;
	unsigned conns, clients;
} questions[] = {
	{"bulk-in", "byte", start_bulk_in, more_nothing, bytes_in, 1 << 20, 256, 1, 1},
	{"bulk-out", "byte", start_bulk_out, more_nothing, bytes_out, 1 << 20, 256, 1, 1},
	{"short", "connection", start_short, more_short, conns_ended, 1, 10000, 64, 4},
	{"handshakes", "handshake", start_nothing, more_handshakes, handshakes, 1, 1000, 8, 1},
	{"tunnels", "tunnel", start_nothing, more_tunnels, tunnels, 1, 1000, 8, 1},
};

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What one of the question's unit costs, and what its cryptography alone costs, in the same minute. */
struct cost {
	double cycles, floor;
};

static bool
shakes_hands(const struct question *q)
{
	return q->done == handshakes || q->done == tunnels;
}

static double
floor_of(const struct question *q)
{
	if (q->scale != 1)
		return bench_seal_cycles(BENCH_PACKET) / (double)BENCH_PACKET;
	return shakes_hands(q) ? bench_handshake_cycles() : 0;
}

static struct cost
round_of(const struct question *q)
{
	const double floor = floor_of(q);
	struct bench_meter before = bench_meter(), after;
	const uint64_t from = q->done(), upto = from + opt.amount * q->scale;
	double cycles;

	turn_until((q->more(), q->done() >= upto));
	after = bench_meter();
	cycles = (double)(after.cycles - before.cycles) / (double)(q->done() - from);
	printf("  %.3f cycles a %s, its cryptography alone %.3f, %.1f %ss a turn, %lu preempted\n",
		cycles, q->unit, floor,
		(double)(q->done() - from) / (double)(after.turns - before.turns), q->unit,
		after.preempted - before.preempted);
	return (struct cost) {cycles, floor};
}

static double
median(const struct cost *cost, bool ratios)
{
	double v[MAX_ROUNDS];

	for (unsigned i = 0; i < opt.rounds; i++)
		v[i] = ratios ? cost[i].cycles / cost[i].floor : cost[i].cycles;
	qsort(v, opt.rounds, sizeof(v[0]), compare);
	return v[opt.rounds / 2];
}

static void
report(const struct question *q, const struct cost *cost)
{
	const double ns = median(cost, false) / bench_ghz();

	printf("%s: %.3f ns a %s, %.0f a second", q->name, ns, q->unit, 1e9 / ns);
	if (q->scale != 1)
		printf(", ratio_to_seal %.2f", median(cost, true));
	else if (shakes_hands(q))
		printf(", %.2f times signature and key exchange", median(cost, true));
	printf("\n");
}

static void
usage(FILE *f)
{
	fprintf(f,
		"Usage: bench_lcore [options] bulk-in|bulk-out|short|handshakes|tunnels\n"
		"  --cpu N       the worker runs there (default: 1)\n"
		"  --peers-cpu N and everybody else there (default: the same)\n"
		"  --huge        mbufs in huge pages\n"
		"  --super       a port with checksums and segmentation; else packets of 1,500 bytes\n"
		"  --audit       the control plane hears of each connection\n"
		"  --rounds N    (default: 7)\n"
		"  --amount N    a round: MiB, connections, handshakes, tunnels\n"
		"  --conns N     outside connections, handshakes or tunnels, at a time\n"
		"  --clients N   tunnels\n"
		"  --request N   bytes of a short connection, each way (default: 64)\n");
}

static const struct option options[] = {{"cpu", 1, NULL, 'c'}, {"peers-cpu", 1, NULL, 'p'}, {"huge", 0, NULL, 'h'},
	{"super", 0, NULL, 's'}, {"audit", 0, NULL, 'A'}, {"rounds", 1, NULL, 'r'},
	{"amount", 1, NULL, 'a'}, {"conns", 1, NULL, 'n'}, {"clients", 1, NULL, 't'},
	{"request", 1, NULL, 'q'}, {NULL, 0, NULL, 0}};

static const struct question *
parse(int argc, char **argv, struct bench_config *cfg)
{
	unsigned rounds = 0, conns = 0, clients = 0;
	const struct question *q = NULL;
	bool peers = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned long n = optarg != NULL ? strtoul(optarg, NULL, 10) : 1;

		switch (c) {
		case 'c':
			cfg->cpu = (unsigned)n;
			break;
		case 'p':
			cfg->peers_cpu = (unsigned)n;
			peers = true;
			break;
		case 'h':
			cfg->huge = true;
			break;
		case 's':
			cfg->super = true;
			break;
		case 'A':
			cfg->audit = true;
			break;
		case 'r':
			rounds = (unsigned)n;
			break;
		case 'a':
			opt.amount = n;
			break;
		case 'n':
			conns = (unsigned)n;
			break;
		case 't':
			clients = (unsigned)n;
			break;
		case 'q':
			opt.request = (uint32_t)n;
			break;
		default:
			return NULL;
		}
	}
	for (size_t i = 0; i < RTE_DIM(questions) && optind + 1 == argc; i++)
		if (strcmp(questions[i].name, argv[optind]) == 0)
			q = &questions[i];
	if (q == NULL)
		return NULL;
	if (!peers)
		cfg->peers_cpu = cfg->cpu;
	opt.conns = conns != 0 ? conns : q->conns;
	opt.clients = clients != 0 ? clients : q->clients;
	opt.rounds = rounds != 0 ? RTE_MIN(rounds, (unsigned)MAX_ROUNDS) : opt.rounds;
	opt.amount = opt.amount != 0 ? opt.amount : q->amount;
	return q;
}

int
main(int argc, char **argv)
{
	struct bench_config cfg = {.cpu = 1};
	const struct question *q = parse(argc, argv, &cfg);
	struct cost cost[MAX_ROUNDS];

	if (q == NULL) {
		usage(stderr);
		return 2;
	}
	bench_gateway_start(&cfg);
	bench_outside_start();
	q->start();
	(void)round_of(q); /* windows and caches find their size */
	for (unsigned i = 0; i < opt.rounds; i++)
		cost[i] = round_of(q);
	report(q, cost);
	if (bench_to_gateway.dropped + bench_from_gateway.dropped + bench_outside.failed > 0)
		printf("lost: %lu and %lu packets, %lu connections\n", bench_to_gateway.dropped,
			bench_from_gateway.dropped, bench_outside.failed);
	bench_gateway_stop();
	bench_clients_free();
	bench_outside_stop();
	return 0;
}
