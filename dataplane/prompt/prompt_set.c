/* SPDX-License-Identifier: Apache-2.0 */
/* `set`, `show config` and the program's own lists. The prompt's thread. */
#include <string.h>

#include "dataplane/prompt/prompt_impl.h"

static void
on_set_number(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();
	const struct qp_prompt_config *cfg = &s->prompt->cfg;
	struct qp_errmsg msg;
	uint32_t before;

	(void)cl, (void)data;
	if (strcmp(a->word[1], "verbose") == 0) {
		if (cfg->ops->set_verbose == NULL) {
			qp_prompt_lacks(s, "verbose levels");
			return;
		}
		before = cfg->ops->verbose(cfg->ctx);
		if (cfg->ops->set_verbose(cfg->ctx, a->number, &msg) != 0)
			qp_prompt_say(s, "%s\n", msg.text);
		else
			qp_prompt_say(s, "Change verbose level from %u to %u\n", before, a->number);
		return;
	}
	if (a->number == 0 || a->number > QP_PROMPT_MAX_BURST)
		qp_prompt_say(s, "nb pkt per burst: %u %s %u (%s packet per burst)  ignored\n", a->number,
			a->number == 0 ? "<" : ">", a->number == 0 ? 1 : QP_PROMPT_MAX_BURST,
			a->number == 0 ? "minimum" : "maximum");
	else if (cfg->ops->set_burst == NULL)
		qp_prompt_lacks(s, "bursts to be set");
	else if (cfg->ops->set_burst(cfg->ctx, a->number, &msg) != 0)
		qp_prompt_say(s, "%s\n", msg.text);
	else
		qp_prompt_say(s, "Number of packets per burst set to %u\n", a->number);
}

static void
on_set_fwd(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();
	const struct qp_prompt_config *cfg = &s->prompt->cfg;
	struct qp_errmsg msg;

	(void)cl, (void)data;
	if (cfg->ops->set_fwd == NULL)
		qp_prompt_lacks(s, "engines to choose from");
	else if (cfg->ops->set_fwd(cfg->ctx, a->word[2], &msg) != 0)
		qp_prompt_say(s, "%s\n", msg.text);
	else
		qp_prompt_say(s, "Set %s packet forwarding mode\n", a->word[2]);
}

static void
set_promisc(struct qp_prompt_session *s, unsigned port, bool on)
{
	const struct qp_prompt_config *cfg = &s->prompt->cfg;
	struct qp_errmsg msg;

	if (cfg->ops->port_promisc(cfg->ctx, port, on, &msg) != 0)
		qp_prompt_say(s, "Error during %s promiscuous mode for port %u: %s\n",
			on ? "enabling" : "disabling", port, msg.text);
}

#define ALL ((void *)1)

static void
on_set_promisc(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();
	const bool on = strcmp(a->word[3], "on") == 0;

	(void)cl;
	if (s->prompt->cfg.ops->port_promisc == NULL) {
		qp_prompt_lacks(s, "promiscuous mode");
		return;
	}
	if (data != ALL) {
		if (qp_prompt_port_ok(s, a->port))
			set_promisc(s, a->port, on);
		return;
	}
	for (unsigned i = 0; i < qp_prompt_nports(s->prompt); i++)
		set_promisc(s, i, on);
}

static void
on_show_config(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();

	(void)cl, (void)data;
	if (strcmp(a->word[2], "rxtx") == 0)
		qp_prompt_config_rxtx(s);
	else if (strcmp(a->word[2], "cores") == 0)
		qp_prompt_config_cores(s);
	else
		qp_prompt_config_fwd(s);
}

/* All that testpmd divides. */
static void
on_show_whole_config(void *parsed, struct cmdline *cl, void *data)
{
	struct qp_prompt_session *s = qp_prompt_speaking();

	(void)parsed, (void)cl, (void)data;
	qp_prompt_config_cores(s);
	qp_prompt_config_fwd(s);
	qp_prompt_config_rxtx(s);
}

static void
on_show_list(void *parsed, struct cmdline *cl, void *data)
{
	const struct qp_prompt_args *a = parsed;
	struct qp_prompt_session *s = qp_prompt_speaking();
	const struct qp_prompt_config *cfg = &s->prompt->cfg;
	void (*show)(void *, struct qp_prompt_session *) = strcmp(a->word[1], "tunnels") == 0
		? cfg->ops->show_tunnels : cfg->ops->show_neighbours;

	(void)cl, (void)data;
	if (show == NULL)
		qp_prompt_lacks(s, a->word[1]);
	else
		show(cfg->ctx, s);
}

QP_PROMPT_WORD(word_set, 0, "set");
QP_PROMPT_WORD(word_numbers, 1, "verbose#burst");
QP_PROMPT_WORD(word_fwd, 1, "fwd");
QP_PROMPT_WORD(word_engine, 2, NULL);
QP_PROMPT_WORD(word_promisc, 1, "promisc");
QP_PROMPT_WORD(word_all, 2, "all");
QP_PROMPT_WORD(word_on, 3, "on#off");
QP_PROMPT_WORD(word_show, 0, "show");
QP_PROMPT_WORD(word_config, 1, "config");
QP_PROMPT_WORD(word_part, 2, "rxtx#cores#fwd");
QP_PROMPT_WORD(word_list, 1, "tunnels#neighbours");
static cmdline_parse_token_num_t number =
	TOKEN_NUM_INITIALIZER(struct qp_prompt_args, number, RTE_UINT32);
static cmdline_parse_token_num_t port =
	TOKEN_NUM_INITIALIZER(struct qp_prompt_args, port, RTE_UINT16);

static cmdline_parse_inst_t set_number = {
	.f = on_set_number,
	.help_str = "set verbose|burst N",
	.tokens = {(void *)&word_set, (void *)&word_numbers, (void *)&number, NULL},
};
static cmdline_parse_inst_t set_fwd = {
	.f = on_set_fwd,
	.help_str = "set fwd ENGINE",
	.tokens = {(void *)&word_set, (void *)&word_fwd, (void *)&word_engine, NULL},
};
static cmdline_parse_inst_t promisc_one = {
	.f = on_set_promisc,
	.help_str = "set promisc PORT on|off",
	.tokens = {(void *)&word_set, (void *)&word_promisc, (void *)&port, (void *)&word_on, NULL},
};
static cmdline_parse_inst_t promisc_all = {
	.f = on_set_promisc,
	.data = ALL,
	.help_str = "set promisc all on|off",
	.tokens = {(void *)&word_set, (void *)&word_promisc, (void *)&word_all, (void *)&word_on, NULL},
};
static cmdline_parse_inst_t show_config = {
	.f = on_show_config,
	.help_str = "show config rxtx|cores|fwd",
	.tokens = {(void *)&word_show, (void *)&word_config, (void *)&word_part, NULL},
};
static cmdline_parse_inst_t show_whole_config = {
	.f = on_show_whole_config,
	.help_str = "show config",
	.tokens = {(void *)&word_show, (void *)&word_config, NULL},
};
static cmdline_parse_inst_t show_list = {
	.f = on_show_list,
	.help_str = "show tunnels|neighbours",
	.tokens = {(void *)&word_show, (void *)&word_list, NULL},
};

cmdline_parse_inst_t *const qp_prompt_set_commands[] = {
	&set_number, &set_fwd, &promisc_one, &promisc_all, &show_config, &show_whole_config,
	&show_list, NULL};
