/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at a gateway's certificate: a forward whose session ends where trust
 * is decided. The caller's thread.
 */
#include "client/client_impl.h"

#include <stdio.h>

struct inspection {
	qp_trust_fn decide;
	void *user;
	bool over;
	struct qp_error why;
};

static enum qp_trust
on_trust(void *user, struct qp_forward *f, const struct qp_certificate *cert)
{
	struct inspection *i = user;
	struct qp_certificate shown = *cert;
	enum qp_trust answer;

	/* A known one is recorded, too. */
	if (f->trust.verdict == QPC_HOST_KNOWN)
		shown.recorded = cert->fingerprint;
	answer = i->decide(i->user, &shown);
	i->over = true;
	i->why.code = answer == QP_TRUST_NO ? QP_E_AUTH : QP_OK;
	return answer == QP_TRUST_RECORD && f->trust.verdict != QPC_HOST_KNOWN ? QP_TRUST_RECORD :
										 QP_TRUST_NO;
}

static void
on_closed(void *user, struct qp_forward *f, const struct qp_error *why, int64_t retry_ms)
{
	struct inspection *i = user;

	/* Once it was decided, only a failure to record is news: that is no QP_E_AUTH. */
	if (!i->over || (i->why.code == QP_OK && why->code != QP_E_AUTH))
		i->why = *why;
	i->over = true;
}

static int
look(struct qp_client *c, struct inspection *i)
{
	/* Nobody will see this secret: the session ends before authentication. */
	const struct qp_identity nobody = {.psk = "-"};
	struct qp_forward_options fo = QP_FORWARD_OPTIONS;
	int err;

	fo.name = "inspect";
	fo.remote = fo.local = "1";
	fo.identity = &nobody;
	c->inspecting = true;
	err = qp_client_add(c, &fo, NULL, &i->why);
	while (err == QP_OK && !i->over) {
		const struct qp_log_tap *before = qp_log_tap;

		qp_log_tap = &c->tap;
		err = qpc_loop_turn(&c->loop);
		qp_log_tap = before;
	}
	return err != QP_OK ? err : i->why.code;
}

int
qp_inspect(const struct qp_client_options *options, qp_trust_fn decide, void *user,
	struct qp_error *error)
{
	struct inspection i = {.decide = decide, .user = user};
	struct qp_client_options o = *options;
	struct qp_client *c;
	struct qp_errmsg msg = {""};
	int err;

	o.callbacks = (struct qp_client_callbacks) {.trust = on_trust, .closed = on_closed};
	o.user = &i;
	o.insecure = false;
	o.reconnect = false;
	err = qp_client_new(&o, &c, error);
	if (err != QP_OK)
		return err;
	err = look(c, &i);
	qp_client_free(c);
	snprintf(msg.text, sizeof(msg.text), "%s", i.why.text);
	return err == QP_OK ? QP_OK : qpc_report(error, err, &msg);
}
