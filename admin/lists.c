/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists of `quicport admin`: which columns and filters each has. Pages are
 * fetched one after the other and shown as they come. Main thread.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/commands.h"
#include "admin/table.h"

#define FILTERS_MAX 5u
#define PAGE_ROWS 1000u
/* 100 million rows: an answer that goes on is no list. */
#define PAGES_MAX 100000u

struct filter {
	const char *name; /* the option's; NULL at the end */
	const char *key;
	const char *arg;
	const char *help;
	uint64_t max; /* a number up to it; 0: text */
};

struct qpa_list {
	const char *call;
	const char *rows;
	const char *summary;
	const char *positional_key; /* NULL, or the field that the one argument fills */
	const char *positional_arg;
	struct qpa_column column[QPA_COLUMNS_MAX];
	struct filter filter[FILTERS_MAX];
};

#define FILTER_CLIENT {"client", "client", "NAME", "of this client alone", 0}
#define FILTER_PEER {"peer", "peer", "NETWORK", "from this address or network alone", 0}
#define FILTER_PORT {"port", "port", "PORT", "of this port alone", 65535}
#define FILTER_PROTOCOL {"protocol", "protocol", "PROTO", "tcp or udp alone", 0}

#define CONNECTION_COLUMNS                                                                         \
	{"TUNNEL", "tunnel_id", QPA_TEXT}, {"CONN", "connection_id", QPA_COUNT},                   \
	{"CLIENT", "client", QPA_TEXT}, {"REMOTE", "remote_addr", QPA_TEXT},                       \
	{"PROTO", "protocol", QPA_TEXT}, {"PORT", "port", QPA_LIMIT}, {"LOCAL", "local", QPA_YES}, \
	{"AGE", "age_ms", QPA_AGE}, {"IN", "bytes_sent", QPA_BYTES},                               \
	{"OUT", "bytes_received", QPA_BYTES},

static const struct qpa_list data_planes = {
	.call = "ListDataPlanes", .rows = "data_planes",
	.summary = "Lists the data planes, one a generation, the newest last.",
	.column = {{"DP_ID", "dp_id", QPA_TEXT}, {"STATE", "state", QPA_TEXT}, {"PID", "pid", QPA_COUNT},
		{"TUNNELS", "active_tunnels", QPA_COUNT}, {"IN", "bytes_sent", QPA_BYTES},
		{"OUT", "bytes_received", QPA_BYTES}},
};

static const struct qpa_list nics = {
	.call = "ListNics", .rows = "nics",
	.summary = "Lists the dedicated ports (nic mode); in host mode there are none.",
	.column = {{"NIC", "nic", QPA_COUNT}, {"DEVICE", "device", QPA_TEXT}, {"DRIVER", "driver", QPA_TEXT},
		{"LINK", "link", QPA_TEXT}, {"MBIT/S", "link_mbps", QPA_LIMIT}, {"MTU", "mtu", QPA_COUNT},
		{"VLAN", "vlan", QPA_LIMIT}, {"RXQ", "rx_queues", QPA_COUNT}, {"TXQ", "tx_queues", QPA_COUNT},
		{"MAC", "mac", QPA_TEXT}},
};

static const struct qpa_list connections_of = {
	.call = "GetConnections", .rows = "connections",
	.summary = "Lists the outside connections and UDP flows of one data plane.",
	.positional_key = "dp_id", .positional_arg = "DP_ID",
	.column = {CONNECTION_COLUMNS},
};

static const struct qpa_list tunnels = {
	.call = "ListTunnels", .rows = "tunnels",
	.summary = "Lists the tunnels of all data planes.",
	.column = {{"TUNNEL", "tunnel_id", QPA_TEXT}, {"CLIENT", "client", QPA_TEXT},
		{"AUTH", "method", QPA_TEXT}, {"PEER", "peer", QPA_TEXT}, {"UP", "since", QPA_SINCE},
		{"RTT", "rtt_us", QPA_RTT}, {"CONNS", "connections", QPA_COUNT},
		{"REFUSED", "connections_refused", QPA_COUNT}, {"IN", "bytes_sent", QPA_BYTES},
		{"OUT", "bytes_received", QPA_BYTES}, {"PORTS", "ports", QPA_PORTS}},
	.filter = {FILTER_CLIENT, FILTER_PEER,
		{"dp-id", "dp_id", "DP_ID", "of this data plane alone", 0}},
};

static const struct qpa_list connections = {
	.call = "ListConnections", .rows = "connections",
	.summary = "Lists the outside connections and UDP flows of all data planes.",
	.column = {CONNECTION_COLUMNS},
	.filter = {{"tunnel", "tunnel_id", "TUNNEL", "of this tunnel alone", 0}, FILTER_PEER,
		FILTER_PORT, FILTER_PROTOCOL},
};

static const struct qpa_list ports = {
	.call = "ListPorts", .rows = "ports",
	.summary = "Lists the ports that are open for clients, and those that are kept for one "
		   "that is away.",
	.column = {{"PORT", "port", QPA_COUNT}, {"PROTO", "protocol", QPA_TEXT},
		{"STATE", "state", QPA_TEXT}, {"CLIENT", "client", QPA_TEXT},
		{"TUNNEL", "tunnel_id", QPA_TEXT}, {"PEER", "peer", QPA_TEXT},
		{"SINCE", "since", QPA_SINCE}, {"TO", "destination", QPA_TEXT}},
	.filter = {FILTER_CLIENT, FILTER_PORT, FILTER_PROTOCOL},
};

static const struct qpa_list clients = {
	.call = "ListClients", .rows = "clients",
	.summary = "Lists the clients that may connect, and what each may do.",
	.column = {{"NAME", "name", QPA_TEXT}, {"KIND", "kind", QPA_TEXT}, {"GROUP", "group", QPA_TEXT},
		{"NOW", "tunnels_now", QPA_COUNT}, {"TUNNELS", "tunnels", QPA_LIMIT},
		{"CONNS", "connections", QPA_LIMIT}, {"CONNS/S", "connections_per_second", QPA_LIMIT},
		{"IN/S", "bandwidth_in", QPA_BITS}, {"OUT/S", "bandwidth_out", QPA_BITS},
		{"ENDS", "expires", QPA_UNTIL}, {"PORTS", "ports", QPA_WORDS},
		{"ORIGIN", "origin", QPA_TEXT}},
	.filter = {{"group", "group", "NAME", "of this group alone", 0},
		{"prefix", "prefix", "TEXT", "whose name begins so", 0}},
};

static const struct qpa_list blocked = {
	.call = "ListBlockedSources", .rows = "blocked_sources",
	.summary = "Lists the addresses and networks that are blocked.",
	.column = {{"SOURCE", "source", QPA_TEXT}, {"SINCE", "since", QPA_SINCE},
		{"ENDS", "expires", QPA_UNTIL}, {"REASON", "reason", QPA_TEXT}},
};

/* What a call of a list was asked for. */
struct wish {
	struct qpa_options o;
	uint32_t limit; /* rows in all; 0: every */
	const char *text[FILTERS_MAX];
	uint32_t number[FILTERS_MAX];
	bool given[FILTERS_MAX];
};

/* The filters' options, behind the common ones. */
static void
add_filters(const struct qpa_list *list, struct wish *w, struct qp_opt *opt)
{
	if (list->filter[0].name != NULL)
		*opt++ = (struct qp_opt) QP_OPT_GROUP("Which rows:");
	for (unsigned i = 0; i < FILTERS_MAX && list->filter[i].name != NULL; i++) {
		const struct filter *f = &list->filter[i];

		*opt++ = (struct qp_opt) {.name = f->name, .arg = f->arg, .help = f->help, .env = "",
			.min = f->max != 0, .max = f->max, .given = &w->given[i],
			.parse = f->max != 0 ? qp_opt_u32 : qp_opt_string,
			.value = f->max != 0 ? (void *)&w->number[i] : (void *)&w->text[i]};
	}
}

static json_t *
make_args(const struct qpa_list *list, const struct wish *w, const struct qp_opt_strings *words)
{
	json_t *args = json_object();

	for (unsigned i = 0; i < FILTERS_MAX && list->filter[i].name != NULL; i++) {
		if (w->given[i])
			json_object_set_new(args, list->filter[i].key,
				list->filter[i].max != 0 ? json_integer(w->number[i]) :
							   json_string(w->text[i]));
	}
	if (list->positional_key != NULL)
		json_object_set_new(args, list->positional_key, json_string(words->v[0]));
	return args;
}

/* Where the pages go. */
struct sink {
	const struct qpa_list *list;
	struct qpa_table table;
	bool json;
	size_t rows;
};

static void
begin(const struct sink *s)
{
	if (s->json)
		printf("{\"%s\": [", s->list->rows);
}

static void
show_page(struct sink *s, const json_t *rows)
{
	const json_t *row;
	size_t i;

	if (!s->json)
		qpa_table_write(&s->table, rows, stdout);
	else
		json_array_foreach(rows, i, row) {
			fputs(s->rows + i > 0 ? ",\n  " : "\n  ", stdout);
			qpa_print_json(row);
		}
	s->rows += json_array_size(rows);
}

static void
end(const struct sink *s)
{
	if (s->json)
		puts(s->rows > 0 ? "\n]}" : "]}");
	else if (s->rows == 0)
		fprintf(stderr, "none\n");
}

/* The next page's cursor into args. False: this page was the last, or the server stays where it is. */
static bool
turn_page(json_t *args, const json_t *answer)
{
	const json_t *cursor = json_object_get(answer, "next_cursor");

	if (!json_is_string(cursor) || json_equal(cursor, json_object_get(args, "cursor")))
		return false;
	json_object_set(args, "cursor", (json_t *)(uintptr_t)cursor);
	return true;
}

static int
show_all(struct qpa_api *api, struct sink *s, json_t *args, uint32_t limit, struct qp_errmsg *msg)
{
	bool more = true;
	int err = QP_OK;

	for (unsigned page = 0; more && page < PAGES_MAX; page++) {
		size_t left = limit != 0 ? limit - s->rows : PAGE_ROWS;
		json_t *answer, *rows;

		json_object_set_new(args, "limit",
			json_integer((json_int_t)(left < PAGE_ROWS ? left : PAGE_ROWS)));
		err = qpa_api_call(api, s->list->call, args, &answer, msg);
		if (err != QP_OK)
			break;
		rows = json_object_get(answer, s->list->rows);
		more = turn_page(args, answer);
		if (!json_is_array(rows))
			err = qp_fail(msg, QP_E_PROTO,
				"the answer has no list of %s: is this a quicport gateway's private API?",
				s->list->rows);
		else {
			if (page == 0)
				begin(s);
			while (json_array_size(rows) > left) /* of a server that does not count */
				json_array_remove(rows, json_array_size(rows) - 1);
			show_page(s, rows);
		}
		json_decref(answer);
		if (err != QP_OK || (limit != 0 && s->rows >= limit))
			break;
	}
	return err;
}

static int
run_list(const struct qpa_command *c, const struct wish *w, const struct qp_opt_strings *words)
{
	struct sink s = {.list = c->what, .json = w->o.json,
		.table = {.column = ((const struct qpa_list *)c->what)->column, .raw = w->o.raw,
			.now_s = time(NULL)}};
	struct qp_errmsg msg = {""};
	struct qpa_api *api;
	json_t *args;
	int err = qpa_api_open(&w->o, &api, &msg);

	if (err != QP_OK)
		return qpa_complain(c, err, &msg);
	args = make_args(s.list, w, words);
	err = show_all(api, &s, args, w->limit, &msg);
	if (err == QP_OK)
		end(&s);
	json_decref(args);
	qpa_api_close(api);
	return err == QP_OK ? qpa_finish(c, QPA_EXIT_OK) : qpa_complain(c, err, &msg);
}

static int
run(const struct qpa_command *c, int argc, char **argv)
{
	const struct qpa_list *list = c->what;
	struct wish w = {0};
	struct qp_opt opts[9 + FILTERS_MAX + 2] = {
		QPA_OPTIONS_API(&w.o),
		QP_OPT_GROUP("What is shown:"),
		QPA_OPTION_JSON(&w.o),
		QPA_OPTION_RAW(&w.o),
		{.name = "limit", .arg = "N", .fallback = "0", .max = UINT32_MAX, .env = "",
			.help = "so many rows at most; 0: all", .parse = qp_opt_u32, .value = &w.limit},
	};
	struct qp_opt_strings words = {0};
	char name[QPA_NAME_BYTES];
	const struct qp_opt_command cmd = {
		.name = qpa_full_name(c, name),
		.summary = list->summary,
		.args = list->positional_arg,
		.opts = opts,
		.positional = list->positional_key != NULL ? &words : NULL,
	};

	add_filters(list, &w, &opts[9]);
	qp_opt_parse_or_exit(&cmd, argc, argv);
	if (list->positional_key != NULL && words.n != 1) {
		fprintf(stderr, "%s: which one? Give one %s\n", name, list->positional_arg);
		return QPA_EXIT_USAGE;
	}
	return run_list(c, &w, &words);
}

const struct qpa_command qpa_lists[] = {
	{"list-data-planes", "the data planes, one a generation", run, &data_planes},
	{"list-nics", "the dedicated ports: link, driver, queues", run, &nics},
	{"list-tunnels", "the tunnels, and what each carries", run, &tunnels},
	{"list-connections", "the outside connections and UDP flows", run, &connections},
	{"get-connections", "those of one data plane", run, &connections_of},
	{"list-ports", "the forwarded ports, and whose they are", run, &ports},
	{"list-clients", "who may connect, and what each may do", run, &clients},
	{"list-blocked", "the blocked addresses and networks", run, &blocked},
	{0},
};
