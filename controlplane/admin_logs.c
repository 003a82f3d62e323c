/* SPDX-License-Identifier: Apache-2.0 */
/* Of the private API: how much is logged. Loop thread. */
#define QP_LOG_MODULE QP_LOG_M_http
#include "common/log.h"
#include "controlplane/admin_calls.h"

static json_t *
modules(void)
{
	json_t *out = json_object();

	for (enum qp_log_module m = 0; m < QP_LOG_NMODULES; m++)
		json_object_set_new(out, qp_log_module_name(m),
			json_string(qp_log_level_name(qp_log_module_level(m))));
	return out;
}

void
qp_admin_get_log_levels(struct qp_admin_call *c)
{
	if (qp_args_ok(c->args))
		qp_admin_reply(c->out, json_pack("{s:o}", "modules", modules()));
}

void
qp_admin_set_log_level(struct qp_admin_call *c)
{
	const char *level_text = qp_args_text(c->args, "level", 1, 16);
	const char *module_text = qp_args_text(c->args, "module", 1, 32);
	enum qp_log_level level = QP_LOG_INFO;
	enum qp_log_module module = 0;

	if (level_text == NULL || qp_log_level_parse(level_text, &level) != 0)
		qp_args_fail(c->args, "level", "error, warn, info, debug or trace");
	if (module_text != NULL && qp_log_module_parse(module_text, &module) != 0)
		qp_args_fail(c->args, "module", "a module that GetLogLevels names");
	if (!qp_args_ok(c->args))
		return;
	if (module_text != NULL)
		qp_log_set_module_level(module, level);
	else
		qp_log_set_level(level);
	qp_log(QP_LOG_INFO, "log level set", QP_LOG_STR("log_module", module_text),
		QP_LOG_STR("log_level", level_text), QP_LOG_STR("who", c->actor));
	qp_admin_audit(c, "SetLogLevel",
		json_pack("{s:s, s:s*}", "level", level_text, "module", module_text));
	qp_admin_reply(c->out, json_pack("{s:s, s:o}", "status", "set", "modules", modules()));
}
