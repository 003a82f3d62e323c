/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the port owner about memory. */
#define QP_LOG_MODULE QP_LOG_M_process
#include "controlplane/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/genmem.h"
#include "common/log.h"
#include "common/owner_link.h"
#include "controlplane/eal.h"

/* The loop waits. Before us may be one that starts EAL, and hangs: for 3 s the port owner waits, too. */
#define PATIENCE_MS 5000u
/*
 * One that has not answered is not waited for again so soon: a data plane's end
 * has several questions, and the service manager's watchdog 10 s.
 */
#define SILENCE_NS 10000000000ull

static char instance[32];
static int owner = -1;
/* The port owner is of a release that cannot be asked. */
static bool ourselves;
static uint64_t silent_since_ns; /* 0: it has answered */
static bool looking; /* an answer is still to come that nobody waits for, see qp_memory_look */
static unsigned unanswered; /* looks */
static struct qp_loop *loop;
static struct qp_watch watch = QP_WATCH_NONE;
static void (*freed)(void *ctx, uint32_t server_id);
static void *freed_ctx;

/* It is dead, or has not answered: what comes too late would be taken for the next answer. */
static void
let_go(void)
{
	if (loop != NULL)
		qp_loop_unwatch(loop, &watch);
	if (owner >= 0)
		close(owner);
	owner = -1;
	looking = false;
}

static void
note(const struct qp_owner_told *told)
{
	if (told->type != QP_OWNER_RECLAIM)
		return;
	if (told->ok == 1)
		qp_log(QP_LOG_INFO, "a data plane's memory is free again",
			QP_LOG_HEX("dp_id", told->id[0]), QP_LOG_U64("zones", told->n));
	if (told->ok == 1 && freed != NULL)
		freed(freed_ctx, told->id[0]);
	if (told->ok != 1)
		qp_log(QP_LOG_ERROR, "a data plane's memory cannot be freed",
			QP_LOG_HEX("dp_id", told->id[0]), QP_LOG_STR("reason", told->why));
}

/* It lives. True: that is all that this answer says. */
static bool
heard(const struct qp_owner_told *told)
{
	bool is_look = looking && told->type == QP_OWNER_LIST;

	silent_since_ns = 0;
	unanswered = 0;
	if (is_look)
		looking = false;
	return is_look;
}

static void
on_answer(void *ctx, uint32_t events)
{
	struct qp_owner_told told;
	struct qp_errmsg msg;
	int err = qp_owner_link_receive(owner, 0, &told, &msg);

	(void)ctx;
	(void)events;
	if (err == 0) {
		if (!heard(&told))
			note(&told);
	} else if (err != QP_E_AGAIN) {
		let_go();
	}
}

void
qp_memory_on_freed(void (*fn)(void *ctx, uint32_t server_id), void *ctx)
{
	freed = fn;
	freed_ctx = ctx;
}

void
qp_memory_watch(struct qp_loop *new_loop)
{
	if (loop != NULL)
		qp_loop_unwatch(loop, &watch);
	loop = new_loop;
	if (loop != NULL && owner >= 0 &&
		qp_loop_watch(loop, &watch, owner, EPOLLIN, on_answer, NULL) != 0)
		qp_log(QP_LOG_WARN, "the port owner's answers are not watched");
}

int
qp_memory_begin(const char *name, struct qp_errmsg *msg)
{
	struct qp_owner_told told;
	int err = qp_owner_link_open(name, &owner, msg);

	snprintf(instance, sizeof(instance), "%s", name);
	ourselves = err == QP_E_NOTFOUND;
	if (err == 0)
		return qp_owner_link_ask(owner, QP_OWNER_BEGIN, &told, msg);
	/* Its files are there as long as a data plane lives: EAL can read them. */
	return ourselves || err == QP_E_CLOSED ? 0 : err;
}

int
qp_memory_attached(struct qp_errmsg *msg)
{
	struct qp_owner_told told;

	return owner < 0 ? 0 : qp_owner_link_ask(owner, QP_OWNER_ATTACHED, &told, msg);
}

/* It lives, and hangs. */
static bool
is_silent(void)
{
	return silent_since_ns != 0 && qp_now_ns() - silent_since_ns < SILENCE_NS;
}

/* Whether it can be asked; a new connection when it has not answered once. */
static bool
is_there(void)
{
	struct qp_errmsg msg;
	struct qp_loop *of = loop;
	int err;

	if (owner >= 0 || ourselves || instance[0] == '\0')
		return owner >= 0;
	err = qp_owner_link_open(instance, &owner, &msg);
	if (err == QP_E_AGAIN)
		silent_since_ns = qp_now_ns();
	if (err == 0 && of != NULL)
		qp_memory_watch(of);
	return owner >= 0;
}

/* What it answers some time is nobody's, and says that it lives. */
static void
look(void)
{
	struct qp_errmsg msg;

	if (is_there())
		looking = qp_owner_link_send(owner, QP_OWNER_LIST, 0, NULL, 0, &msg) == 0;
}

static void
fall_silent(void)
{
	silent_since_ns = qp_now_ns();
	look();
}

/* Answers to earlier questions come first. False: there is nobody to ask, or no answer. */
static bool
ask(enum qp_owner_ask_type type, uint32_t server_id, const char *name, struct qp_owner_told *told)
{
	struct qp_errmsg msg;
	int err;

	if (is_silent() || !is_there())
		return false;
	err = qp_owner_link_send(owner, type, server_id, name, 0, &msg);
	while (err == 0) {
		err = qp_owner_link_receive(owner, PATIENCE_MS, told, &msg);
		if (err == 0 && heard(told))
			continue;
		if (err == 0 && told->type == (uint32_t)type)
			return told->ok == 1;
		if (err == 0)
			note(told);
	}
	qp_log(QP_LOG_ERROR, "cannot ask the port owner about its memory",
		QP_LOG_STR("reason", msg.text));
	let_go();
	if (err == QP_E_AGAIN)
		fall_silent();
	return false;
}

unsigned
qp_memory_look(void)
{
	if (!qp_eal_attached() || ourselves)
		return 0;
	/* What has come while we were stopped ourselves counts. */
	if (owner >= 0)
		on_answer(NULL, 0);
	if (looking)
		return ++unanswered;
	look();
	/* No place is left for one more who asks; one that is dead has none either, but says so. */
	if (!looking && is_silent())
		return ++unanswered;
	return unanswered;
}

const void *
qp_memory_zone(const char *name, size_t *bytes)
{
	struct qp_owner_told told;
	uint64_t n = 0;
	const void *at = NULL;

	*bytes = 0;
	if (!qp_eal_attached())
		return NULL;
	if (ask(QP_OWNER_FIND, 0, name, &told)) {
		n = told.bytes;
		at = (const void *)(uintptr_t)told.address;
	} else if (!is_silent() && !is_there() && !is_silent()) {
		/* Reading the list of zones takes a lock, which is nobody's any more. */
		at = qp_genmem_find(name, &n);
	}
	*bytes = n;
	return at;
}

void *
qp_memory_find(uint32_t server_id, size_t *bytes)
{
	char name[32];

	snprintf(name, sizeof(name), QP_SHARED_NAME, server_id);
	return (void *)(uintptr_t)qp_memory_zone(name, bytes);
}

bool
qp_memory_usage(uint32_t server_id, uint64_t *used, uint64_t *left)
{
	struct qp_owner_told told;

	*used = *left = 0;
	if (ask(QP_OWNER_MEMORY, server_id, NULL, &told)) {
		*used = told.bytes;
		*left = told.left;
		return true;
	}
	if (ourselves)
		qp_genmem_usage(server_id, used, left);
	return ourselves;
}

void
qp_memory_reclaim(uint32_t server_id)
{
	struct qp_errmsg msg;

	if (!qp_eal_attached())
		return;
	if (ourselves)
		qp_log(QP_LOG_INFO, "a data plane's memory is free again",
			QP_LOG_HEX("dp_id", server_id),
			QP_LOG_U64("zones", qp_genmem_reclaim(server_id)));
	else if (is_there() &&
		 qp_owner_link_send(owner, QP_OWNER_RECLAIM, server_id, NULL, 0, &msg) != 0)
		qp_log(QP_LOG_ERROR, msg.text);
}

unsigned
qp_memory_list(uint32_t server_id[16])
{
	struct qp_owner_told told;

	if (!qp_eal_attached())
		return 0;
	if (ask(QP_OWNER_LIST, 0, NULL, &told)) {
		told.n = told.n < QP_OWNER_LINK_IDS ? told.n : QP_OWNER_LINK_IDS;
		memcpy(server_id, told.id, told.n * sizeof(told.id[0]));
		return told.n;
	}
	return ourselves ? qp_genmem_list(server_id) : 0;
}
