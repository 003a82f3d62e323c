/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is typed at a prompt, or stands in a file for it: the first byte says which,
 * the second into which pieces it is cut. Only ports that exist are asked for, and
 * values stay in their ranges.
 */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "dataplane/prompt/prompt.h"

#define PORTS 3u

static bool is_running;
static uint32_t now_burst;

static unsigned
nports(void *ctx)
{
	return PORTS;
}

static bool
port_info(void *ctx, unsigned port, struct qp_prompt_info *out)
{
	FUZZ_CHECK(port < PORTS);
	*out = (struct qp_prompt_info) {.name = "fuzz", .nrx = 1, .ntx = 1};
	return true;
}

static bool
port_stats(void *ctx, unsigned port, struct qp_prompt_stats *out)
{
	FUZZ_CHECK(port < PORTS);
	*out = (struct qp_prompt_stats) {.ipackets = UINT64_MAX, .ibytes = UINT64_MAX};
	return true;
}

static bool
port_xstat(void *ctx, unsigned port, unsigned i, struct qp_prompt_xstat *out)
{
	FUZZ_CHECK(port < PORTS);
	*out = (struct qp_prompt_xstat) {.name = "x", .value = i};
	return i < 2;
}

static int
port_order(void *ctx, unsigned port, bool on, struct qp_errmsg *msg)
{
	FUZZ_CHECK(port < PORTS);
	return on ? 0 : qp_fail(msg, QP_E_IO, "no");
}

static bool
lcore(void *ctx, unsigned i, struct qp_prompt_lcore *out)
{
	*out = (struct qp_prompt_lcore) {.busy_cycles = UINT64_MAX};
	return i < 2;
}

static bool
running(void *ctx)
{
	return is_running;
}

static int
start(void *ctx, bool on, struct qp_errmsg *msg)
{
	FUZZ_CHECK(is_running != on);
	is_running = on;
	return 0;
}

static int
set_fwd(void *ctx, const char *engine, struct qp_errmsg *msg)
{
	return qp_fail(msg, QP_E_INVAL, "set fwd %s: no", engine);
}

static uint32_t
burst(void *ctx)
{
	return now_burst;
}

static int
set_burst(void *ctx, uint32_t n, struct qp_errmsg *msg)
{
	FUZZ_CHECK(n >= 1 && n <= QP_PROMPT_MAX_BURST);
	now_burst = n;
	return 0;
}

static int
set_verbose(void *ctx, uint32_t level, struct qp_errmsg *msg)
{
	return level <= 3 ? 0 : qp_fail(msg, QP_E_INVAL, "%u", level);
}

static const struct qp_prompt_ops ops = {.nports = nports, .port_info = port_info, .port_stats = port_stats,
	.port_xstat = port_xstat, .port_start = port_order, .port_promisc = port_order, .lcore = lcore,
	.running = running, .start = start, .set_fwd = set_fwd, .burst = burst, .set_burst = set_burst,
	.verbose = burst, .set_verbose = set_verbose};

static void
hear(void *ctx, const char *bytes, uint32_t len)
{
	size_t *heard = ctx;

	for (uint32_t i = 0; i < len; i++)
		*heard += bytes[i] != '\0';
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct qp_prompt_config cfg = {.ops = &ops};
	size_t heard = 0, at = 2, piece;
	struct qp_prompt_session_config how = {.sign = "> ", .write = hear, .ctx = &heard};
	struct qp_prompt_session *s;
	struct qp_prompt *p;
	struct qp_errmsg msg;
	bool goes_on = true;

	if (size < 2)
		return 0;
	how.quiet = (data[0] & 1) != 0;
	how.owner = (data[0] & 2) != 0;
	piece = data[1] + 1u;
	is_running = false;
	now_burst = 32;
	FUZZ_CHECK(qp_prompt_new(&cfg, &p, &msg) == 0);
	s = qp_prompt_open(p, &how);
	FUZZ_CHECK(s != NULL);
	while (at < size && goes_on) {
		const size_t n = size - at < piece ? size - at : piece;

		goes_on = qp_prompt_feed(s, (const char *)data + at, (uint32_t)n);
		at += n;
	}
	qp_prompt_close(s);
	qp_prompt_free(p);
	return 0;
}
