/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_CONTROLPLANE_GATEWAY_INTERNAL_H
#define QP_CONTROLPLANE_GATEWAY_INTERNAL_H

#include "controlplane/admin.h"
#include "controlplane/audit.h"
#include "controlplane/authd.h"
#include "controlplane/blocks.h"
#include "controlplane/console.h"
#include "controlplane/crash_report.h"
#include "controlplane/enforce.h"
#include "controlplane/events.h"
#include "controlplane/farewell.h"
#include "controlplane/file_watch.h"
#include "controlplane/gateway.h"
#include "controlplane/hostnet.h"
#include "controlplane/instance.h"
#include "controlplane/kept.h"
#include "controlplane/leases.h"
#include "controlplane/locals.h"
#include "controlplane/network.h"
#include "controlplane/nicnet.h"
#include "controlplane/owner.h"
#include "controlplane/ports.h"
#include "controlplane/proc.h"
#include "controlplane/public_api.h"
#include "controlplane/queries.h"
#include "controlplane/records.h"
#include "controlplane/state.h"
#include "controlplane/supervisor.h"
#include "controlplane/usage.h"
#include "controlplane/watchdog.h"

/* A program that is on the disk takes this one's place: gateway_upgrade.c. */
struct qp_upgrade {
	enum {
		QP_UPGRADE_NONE,
		QP_UPGRADE_PROBING,  /* it is tried out */
		QP_UPGRADE_SETTLING, /* what is starting comes to its end */
		QP_UPGRADE_CLEARING, /* the API's last answers */
		QP_UPGRADE_GONE,
	} state;
	struct qp_child probe;
	int fd; /* what it says; -1: it has ended */
	struct qp_loop_timer timer;
	uint64_t since_ns; /* CLEARING */
	size_t len;
	char line[512];
};

/*
 * Data planes change by a signal or by the API. What the next one is started
 * with is in `struct qp_options` meanwhile; `before` has what the present one
 * was, in case that no other comes.
 */
struct qp_handover {
	bool by_signal; /* the service manager waits for its end */
	bool again;     /* a signal came meanwhile, or before there was anything to hand over */
	struct qp_options before; /* only what qp_options_take_generation copies */
	uint64_t done, failed, refused;
	char why[sizeof(((struct qp_errmsg *)NULL)->text)]; /* the last one failed; "": it did not */
};

/* The port owner's silence, death or replacement: gateway_owner.c. */
struct qp_owner_end {
	struct qp_loop_timer look; /* whether it answers */
	bool silent; /* it does not */
	struct qp_loop_timer again; /* it is told again; or `asked`, and it begins */
	bool asked; /* to replace it */
	bool anew;  /* this process ends all, and begins anew */
	char how[96]; /* it died */
};

/* Clients that are being written by the API: gateway_writes.c. */
struct qp_writes {
	TAILQ_HEAD(, qp_writing) waiting; /* the first one is built, while the thread works */
	TAILQ_HEAD(, qp_writing) in_force; /* they wait for the disk */
	unsigned n; /* of both */
	struct qp_offload *thread; /* NULL: not open */
	struct qp_watch disk;
	struct qp_loop_timer patience; /* with the disk */
};

/* What gateway.c (the way up and down), gateway_modules.c and gateway_wiring.c (the time between) share. */

struct qp_gateway {
	struct qp_options *o; /* all but a reload only read them */
	struct qp_credentials *cred;
	struct qp_instance instance;
	struct qp_loop *loop;
	struct qp_owner *owner;
	struct qp_supervisor *supervisor;
	struct qp_console *console;
	struct qp_network network;
	struct qp_nicnet *nicnet; /* the same in nic mode; NULL: host mode */
	LIST_HEAD(, qp_grave) graves; /* dead data planes whose memory waits, in nic mode */
	struct qp_events *events;
	struct qp_audit *audit; /* NULL: there is none */
	struct qp_records records; /* both of them */
	struct qp_state *state;
	struct qp_state_stats state_stats; /* as read for the last /metrics */
	struct qp_leases *leases;
	struct qp_tunnels *tunnels;
	struct qp_enforce *enforce; /* holds the policy */
	struct qp_psk_marks psk_marks;
	struct qp_authd *authd;
	struct qp_ports *ports;
	struct qp_sources *sources;
	struct qp_locals *locals;
	struct qp_queries *queries;
	struct qp_usage *usage;
	struct qp_crash_reports crash_reports; /* dir "": none are written */
	struct qp_goodbyes *goodbyes; /* to the clients of data planes that died */
	struct qp_blocks *blocks;
	struct qp_api_clients *api_clients;
	bool api_clients_out; /* since the start: with the file as it is they cannot be in force */
	struct qp_writes writes;
	struct qp_public_api *public_api; /* NULL: there is none */
	struct qp_http *private_api;
	struct qp_http *private_api_unix; /* NULL: there is none */
	struct qp_http_tls *api_tls;	  /* NULL: plain HTTP */
	int api_fd, api_unix_fd;	  /* -1: not listening, or the server's already */
	struct qp_admin admin;
	struct qp_handover handover;
	struct qp_kept kept; /* what ended data planes and predecessors of ours have counted */
	uint32_t kept_retired; /* as it was written last */
	uint64_t kept_changes;
	uint64_t farewells_before; /* that predecessors have sent */
	struct qp_loop_timer keep; /* the next look at whether it has changed */
	uint64_t classifier[QP_CLS_NCOUNTERS]; /* as read for the last /metrics */
	uint64_t started_ns;
	uint16_t reserved_tcp[2];
	unsigned nreserved_tcp;
	int signal_fd;
	struct qp_watch signal_watch;
	struct qp_file_watch *file_watch; /* NULL: no file is watched */
	struct qp_watchdog watchdog;
	struct qp_watch network_watch;
	bool started; /* has been ready once */
	bool start_recorded; /* in the audit log: its end is owed */
	bool stopping;
	bool leaving; /* while stopping: data planes and host stay as they are */
	/* Taking over, see gateway_adopt.c. */
	bool restoring; /* a port that is opened now was open before */
	struct qp_waiting *waiting;
	unsigned nwaiting, waiting_cap;
	struct qp_loop_timer reserve;
	struct qp_upgrade upgrade;
	struct qp_owner_end owner_end;
	bool data_planes_ended; /* while stopping: only the port owner is left */
	int status;
	struct qp_errmsg *msg; /* why, if status is not 0 */
};

/* gateway_api.c: first what can fail without anything running yet. */
int qp_gateway_api_listen(struct qp_gateway *g, struct qp_errmsg *msg);
int qp_gateway_api_open(struct qp_gateway *g, struct qp_errmsg *msg);
/* Certificate and token are read again; what cannot be read stays as it was. */
int qp_gateway_api_reload(struct qp_gateway *g, struct qp_errmsg *msg);
void qp_gateway_api_close(struct qp_gateway *g);

/* gateway_handover.c: the configuration is read again, then a new data plane takes over. */
/* The service manager hears that a change begins: systemd 253 and later wait for the time. */
void qp_gateway_tell_reloading(void);
/* SIGHUP. */
void qp_gateway_on_hangup(struct qp_gateway *g);
/* By the API: struct qp_admin's function; ctx is the gateway. */
int qp_gateway_hand_over(void *ctx, const char *actor, uint32_t server_id, struct qp_errmsg *msg);
/* struct qp_admin's function; ctx is the gateway. */
const char *qp_gateway_handover_error(void *ctx);
/* It is over. `why`: nothing has changed; NULL: the new one serves. */
void qp_gateway_handed_over(struct qp_gateway *g, const char *why);
/* A data plane serves: what waited for that goes on. */
void qp_gateway_may_hand_over(struct qp_gateway *g);

/* gateway_clients.c: clients that the API writes, from the state into the policy. */
int qp_gateway_open_clients(struct qp_gateway *g, struct qp_errmsg *msg);

/* gateway_writes.c: how more of them come. After the state, before the loop and the API go. */
int qp_gateway_open_writes(struct qp_gateway *g, struct qp_errmsg *msg);
/* All are answered. */
void qp_gateway_close_writes(struct qp_gateway *g);
/* struct qp_admin's function; ctx is the gateway. */
int qp_gateway_write_client(void *ctx, const struct qp_client_write *w, struct qp_errmsg *msg);
/* Around a reload: what is being built comes into force first; and what waits goes on. */
void qp_gateway_settle_writes(struct qp_gateway *g);
void qp_gateway_go_on_with_writes(struct qp_gateway *g);

/* gateway_wiring.c */
/* False: its data plane is gone. */
bool qp_gateway_worker(
	const struct qp_gateway *g, const struct qp_origin *at, struct qp_network_worker *out);
extern const struct qp_supervisor_ops qp_gateway_supervisor_ops;
/* No successor: log and event. `gen` NULL: it has ended meanwhile. */
void qp_gateway_tell_drain_failed(
	struct qp_gateway *g, const struct qp_generation *gen, const char *why);
/* struct qp_port_host's functions; ctx is the gateway. */
int qp_gateway_port_open(void *ctx, int protocol, uint16_t port, const struct in6_addr *addr,
	const struct qp_origin *worker, struct qp_errmsg *msg);
void qp_gateway_port_close(void *ctx, int protocol, uint16_t port);
/* struct qp_queries_config's function; ctx is the gateway. */
bool qp_gateway_worker_from(void *ctx, const struct qp_origin *at, struct qp_origin *out);
/* struct qp_locals_config's route. */
int qp_gateway_route(void *ctx, const struct in6_addr *dest, struct qp_hostnet_route *out,
	struct qp_errmsg *msg);

/* gateway_keeping.c: what was counted goes on, and is kept from now on. */
void qp_gateway_resume_counters(struct qp_gateway *g);
void qp_gateway_keep_counters(struct qp_gateway *g);
/* Clients of dead data planes that were told, by us or our predecessors. */
uint64_t qp_gateway_farewells(const struct qp_gateway *g);

/* gateway_keeping.c: audit log, state, leases. Before and after all that uses them. */
int qp_gateway_open_keeping(struct qp_gateway *g, struct qp_errmsg *msg);
void qp_gateway_close_keeping(struct qp_gateway *g);
/* struct qp_port_host's and qp_ports_config's functions; ctx is the gateway. */
int qp_gateway_port_move(void *ctx, int protocol, uint16_t port, const struct qp_origin *worker);
bool qp_gateway_takes_over(void *ctx, const struct qp_origin *worker);
int qp_gateway_port_rights(void *ctx, const struct qp_tunnel *tun, struct qp_port_rights *out,
	struct qp_errmsg *msg);

/* qp_ports_config's and qp_locals_config's questions of the policy; ctx is the gateway. */
int qp_gateway_forward_room(void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg);
const struct qp_allow *qp_gateway_local_rights(
	void *ctx, const struct qp_tunnel *tun, struct qp_errmsg *msg);
/* struct qp_enforce_config's workers. */
unsigned qp_gateway_workers(void *ctx, uint32_t server_id);

/* gateway_crash.c */
/* Without a place for reports a gateway serves all the same. */
void qp_gateway_open_crash_reports(struct qp_gateway *g);
/* NULL: out of memory. */
struct qp_goodbyes *qp_gateway_goodbyes(struct qp_gateway *g);
void qp_gateway_report_crash(struct qp_gateway *g, const struct qp_generation *gen);
/* struct qp_supervisor_ops' remains: whom it served is told as soon as another one can serve them. */
void qp_gateway_remains(void *ctx, uint32_t server_id, bool unseen);

/* gateway_nic.c */
/* struct qp_supervisor_ops' function. */
void qp_gateway_free_memory(void *ctx, uint32_t server_id);
/* The network is open. */
void qp_gateway_nic_begin(struct qp_gateway *g);
/* Data planes were taken over: who stands in the ports' tables and has died meanwhile is forgotten. */
void qp_gateway_nic_adopted(struct qp_gateway *g);
/* struct qp_goodbyes_config's: no socket of the host's reaches the clients, but a worker does. */
int qp_gateway_send_farewells(void *ctx, const struct qp_farewell_entry *e, unsigned n);
/* Before the loop goes. */
void qp_gateway_close_graves(struct qp_gateway *g);
/* Whether this process may run on the CPUs that --lcores names. */
int qp_gateway_check_lcores(const struct qp_options *o, struct qp_errmsg *msg);

/* gateway_adopt.c */
/* True: the message waits until the take-over is complete. */
bool qp_gateway_waits(struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m);
void qp_gateway_tunnel_state(
	struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m);
/* TUNNEL_CLOSED of a tunnel that nobody has told yet: puts it into the tables, to be closed. */
void qp_gateway_learn_end(
	struct qp_gateway *g, const struct qp_origin *from, const struct qp_msg *m);
/* struct qp_supervisor_ops' adopted and lifeline. */
void qp_gateway_adopted(void *ctx);
void qp_gateway_lifeline(void *ctx, int fd);
/* Ends this process only. */
void qp_gateway_leave(struct qp_gateway *g, const char *why);

/* gateway_upgrade.c: SIGUSR2 */
void qp_gateway_upgrade(struct qp_gateway *g);
/* Before the loop goes. */
void qp_gateway_upgrade_close(struct qp_gateway *g);

/* gateway_owner.c */
/* Looks whether it answers, from now on. */
void qp_gateway_owner_watch(struct qp_gateway *g);
void qp_gateway_owner_died(struct qp_gateway *g, const char *how);
/* struct qp_admin's function; ctx is the gateway. */
int qp_gateway_replace_owner(void *ctx, struct qp_errmsg *msg);
/* Before the loop goes. */
void qp_gateway_owner_close(struct qp_gateway *g);

/* gateway.c: without port owner and data planes there is no way on. */
void qp_gateway_check_owner(struct qp_gateway *g);
/* Begins the way down; when called again, without patience. */
void qp_gateway_shutdown(struct qp_gateway *g);
/* The same after a failure; ctx is the gateway. The first reason counts. */
void qp_gateway_fail(void *ctx, const char *why);
/* The last data plane has ended; ctx is the gateway. */
void qp_gateway_all_ended(void *ctx);
/* struct qp_owner_config's functions; ctx is the gateway. */
void qp_gateway_owner_ready(void *ctx);
void qp_gateway_owner_ended(void *ctx, const char *how);
/* Blocks them, too: before any thread starts. */
int qp_gateway_watch_signals(struct qp_gateway *g, struct qp_errmsg *msg);

/* gateway_modules.c: after a failure what was opened is there, and is to be closed all the same. */
int qp_gateway_open_modules(struct qp_gateway *g, struct qp_errmsg *msg);
void qp_gateway_close_modules(struct qp_gateway *g);

/* gateway_network.c */
int qp_gateway_open_network(struct qp_gateway *g, struct qp_errmsg *msg);
int qp_gateway_open_blocks(struct qp_gateway *g, struct qp_errmsg *msg);
/* An address that no interface has is refused. */
int qp_gateway_check_forward_addr(const struct qp_options *o, struct qp_errmsg *msg);

#endif
