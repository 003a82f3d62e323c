/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words for each way that a forward's connection can end. Pure.
 */
#include "client/client_impl.h"

#include "common/wire.h"

static int
explain_authentication(const struct qp_forward *f, const struct qpc_session_end *end,
	struct qp_errmsg *msg)
{
	const struct qpc_identity *id = qpc_forward_identity(f);
	bool x25519 = id->method == QP_AUTH_X25519;
	uint8_t key[QP_KEY_BYTES];
	char text[QP_KEY_TEXT_BYTES] = "?";

	if (end->err == QP_E_AUTH)
		return qp_fail(msg, QP_E_AUTH,
			"%s is not the gateway that %s belongs to (%.100s): check both", f->trust.host,
			x25519 ? "--server-pubkey" : "--psk", end->text);
	if (!x25519)
		return qp_fail(msg, QP_E_AUTH,
			"%s did not accept this client (%.100s): --psk must be the gateway's, and the "
			"two clocks within %u s",
			f->trust.host, end->text, QP_WIRE_PSK_WINDOW_S);
	if (qp_key_public(id->private_key, key) == QP_OK)
		qp_key_format(key, text);
	return qp_fail(msg, QP_E_AUTH,
		"%s did not accept this client (%.100s): its --client-pubkeys must have %s",
		f->trust.host, end->text, text);
}

static int
explain_refusal(const struct qp_forward *f, const struct qpc_session_end *end, struct qp_errmsg *msg)
{
	if (f->kind != QP_FORWARD_REMOTE)
		return qp_fail(msg, QP_E_REFUSED, "%s does not forward to %s: %s (%.150s)",
			f->trust.host, f->remote_text, qp_wire_status_name(end->status), end->text);
	return qp_fail(msg, QP_E_REFUSED, "%s did not open port %u: %s (%.150s)%s", f->trust.host,
		f->remote.port, qp_wire_status_name(end->status), end->text,
		end->status == QP_WIRE_PORT_IN_USE ? "; choose another one with -r" : "");
}

int
qpc_explain(const struct qp_forward *f, const struct qpc_session_end *end, struct qp_errmsg *msg)
{
	if (end->refused)
		return explain_refusal(f, end, msg);
	if (end->unresolved)
		return qp_fail(msg, end->err, "%s", end->text);
	switch (end->stage) {
	case QPC_SESSION_CONNECTING:
		return qp_fail(msg, end->err,
			"no connection to %s: %.200s; is a gateway running there, and does UDP "
			"reach it?",
			f->trust.host, end->text);
	case QPC_SESSION_AUTHENTICATING:
	case QPC_SESSION_REQUESTING:
		if ((end->by_peer && !end->going_down) || end->err == QP_E_AUTH)
			return explain_authentication(f, end, msg);
		break;
	default:
		break;
	}
	return qp_fail(msg, end->err != QP_OK ? end->err : QP_E_CLOSED,
		end->by_peer ? "%s closed the forward: %.200s" : "the connection to %s was lost: %.200s",
		f->trust.host, end->text);
}
