/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gateway's processes hold: heap, resident memory, descriptors, and
 * the entries of tables and of the kernel's maps. Asked of the system only when
 * somebody reads /metrics. Loop thread.
 */
#include <dirent.h>
#include <inttypes.h>
#include <unistd.h>

#include "common/heap.h"
#include "controlplane/metrics_impl.h"

/* A process of the gateway's, in all metrics of this file. */
struct member {
	const char *name;
	uint32_t server_id; /* of a data plane; else 0 */
	pid_t pid;
};

static void
label(FILE *out, const char *metric, const struct member *p)
{
	fprintf(out, "quicport_%s{process=\"%s\"", metric, p->name);
	if (p->server_id != 0)
		fprintf(out, ",dp_id=\"0x%04x\"", p->server_id);
	fputs("} ", out);
}

static void
write_resident(FILE *out, const struct member *p)
{
	unsigned long total, resident;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)p->pid);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	if (fscanf(f, "%lu %lu", &total, &resident) == 2) {
		label(out, "resident_bytes", p);
		fprintf(out, "%" PRIu64 "\n", (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
	}
	fclose(f);
}

/* Of one that runs as another user they are not ours to see: then it has no line. */
static void
write_descriptors(FILE *out, const struct member *p)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
	d = opendir(path);
	if (d == NULL)
		return;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	label(out, "open_descriptors", p);
	fprintf(out, "%u\n", n - 2); /* "." and ".." */
}

static void
each_process(FILE *out, const struct qp_metrics *m, void (*write)(FILE *, const struct member *))
{
	const struct qp_generation *g;

	write(out, &(struct member) {.name = "control_plane", .pid = getpid()});
	if (m->owner_pid > 0)
		write(out, &(struct member) {.name = "port_owner", .pid = m->owner_pid});
	TAILQ_FOREACH (g, m->generations, next) {
		if (g->server_id != 0)
			write(out, &(struct member) {.name = "data_plane", .server_id = g->server_id,
					   .pid = g->pid});
	}
}

/* Of the data planes as their first workers tell it. The port owner allocates nothing once it has started. */
static void
write_heap(FILE *out, const struct qp_metrics *m, const char *metric, uint64_t own, size_t offset)
{
	const struct member self = {.name = "control_plane"};
	const struct qp_generation *g;

	label(out, metric, &self);
	fprintf(out, "%" PRIu64 "\n", own);
	TAILQ_FOREACH (g, m->generations, next) {
		const struct member p = {.name = "data_plane", .server_id = g->server_id};

		if (!qp_metrics_readable(g) || !qp_shared_has(qp_dp_link_view(g->link), offset))
			continue;
		label(out, metric, &p);
		fprintf(out, "%" PRIu64 "\n",
			qp_shared_count(qp_dp_link_view(g->link), 0, offset));
	}
}

static void
write_tables(FILE *out, const struct qp_metrics *m)
{
	qp_metrics_head(out, "table_entries", "entries of the control plane's tables", "gauge");
	for (unsigned i = 0; i < m->ntables; i++)
		fprintf(out, "quicport_table_entries{table=\"%s\"} %" PRIu64 "\n", m->table[i].name,
			m->table[i].entries);
	qp_metrics_head(out, "map_entries", "entries of the classifier's maps in the kernel", "gauge");
	for (unsigned i = 0; i < m->nmaps; i++)
		fprintf(out, "quicport_map_entries{map=\"%s\"} %" PRIu64 "\n", m->map[i].name,
			m->map[i].entries);
}

void
qp_metrics_memory(FILE *out, const struct qp_metrics *m)
{
	qp_metrics_head(out, "heap_bytes", "bytes that a process has from malloc now", "gauge");
	write_heap(out, m, "heap_bytes", qp_heap_in_use(),
		offsetof(struct qp_worker_shared, c.heap_bytes));
	qp_metrics_head(out, "heap_budget_bytes", "what it may have; 0: no limit", "gauge");
	fprintf(out, "quicport_heap_budget_bytes{process=\"control_plane\"} %" PRIu64 "\n"
		"quicport_heap_budget_bytes{process=\"data_plane\"} %" PRIu64 "\n",
		qp_heap_budget(), m->data_plane_heap);
	qp_metrics_head(out, "heap_failures_total", "times that malloc had none", "counter");
	write_heap(out, m, "heap_failures_total", qp_heap_failures(),
		offsetof(struct qp_worker_shared, c.heap_failures));
	qp_metrics_head(out, "resident_bytes", "memory of a process in RAM, shared pages included", "gauge");
	each_process(out, m, write_resident);
	qp_metrics_head(out, "open_descriptors", "file descriptors that a process has open", "gauge");
	each_process(out, m, write_descriptors);
	write_tables(out, m);
}
