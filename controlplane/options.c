/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the command line of `quicport control-plane` and what its
 * configuration file says, and gathers the mistakes of both. Main thread.
 */
#include "controlplane/options.h"

#include <stdlib.h>
#include <string.h>

#define COMMAND_NAME "quicport control-plane"
#define COMMAND_SUMMARY                                                                            \
	"Runs the gateway: the control plane, and by itself its port owner and data plane."
#define COMMAND_EPILOGUE                                                                           \
	"Files, in ~/.config/quicport (or QUICPORT_CONFIG_DIR):\n"                                 \
	"  psk              the pre-shared key, made when no key is given\n"                       \
	"  server-cert.pem  the certificate that clients know by its fingerprint\n"                \
	"  server-key.pem   its private key\n"                                                     \
	"Signals: SIGTERM and SIGINT end the gateway, SIGQUIT this process alone, SIGHUP reads "   \
	"configuration and client keys again, SIGUSR1 opens log files anew, SIGUSR2 makes this "   \
	"process the program that is on the disk now.\n"
#define CHECK_NAME "quicport check-config"
#define CHECK_SUMMARY                                                                              \
	"Tells what is wrong with a gateway's configuration file, and with those that it "         \
	"includes. Options that the gateway's command line has besides may be given, too."

/* What a parse needs beyond the options themselves. */
struct reading {
	struct qp_options *o;
	struct qp_mistakes *mistakes;
	struct qp_opt_strings file; /* of check-config */
};

static int
read_config(void *ctx, const struct qp_opt_value **v, size_t *n, struct qp_errmsg *msg)
{
	struct reading *r = ctx;
	struct qp_options *o = r->o;
	int err;

	if (r->file.n > 0)
		o->config = r->file.v[0];
	if (o->config == NULL)
		return 0;
	err = qp_config_read(o->config, r->mistakes, &o->file);
	if (err != 0) {
		qp_mistakes_sum_up(r->mistakes, msg);
		return QP_E_INVAL;
	}
	/* With a mistake the parse goes on, and finds more of them. */
	(void)qp_config_values(o->file, v, n, r->mistakes);
	return 0;
}

static void
take_mistake(void *ctx, const struct qp_errmsg *msg)
{
	struct reading *r = ctx;

	qp_mistakes_add(r->mistakes, 0, "%s", msg->text);
}

static void
take_setting(void *ctx, const struct qp_opt *opt, enum qp_opt_origin origin, const char *place,
	const char *text)
{
	struct reading *r = ctx;

	if (origin <= QP_OPT_FROM_ENV && opt->value == &r->o->psk)
		r->o->psk_in_words = true;
	if (origin <= QP_OPT_FROM_ENV && opt->value == &r->o->privkey)
		r->o->privkey_in_words = true;
	qp_settings_take(&r->o->settings, opt, origin, place, text);
}

static int
run_parser(struct qp_options *o, int argc, char **argv, const struct qp_options_how *how,
	struct qp_mistakes *mistakes, struct qp_errmsg *msg)
{
	struct reading reading = {.o = o, .mistakes = mistakes};
	struct qp_options_given given = {
		.privkey = how->before != NULL && how->before->privkey_in_words,
		.psk = how->before != NULL && how->before->psk_in_words,
	};
	const struct qp_opt_source source = {.read = read_config,
		.mistake = take_mistake,
		.value = take_setting,
		.ctx = &reading,
		.again = how->before != NULL};
	struct qp_opt opts[QP_OPTIONS_MAX];
	const struct qp_opt_command cmd = {
		.name = how->check ? CHECK_NAME : COMMAND_NAME,
		.summary = how->check ? CHECK_SUMMARY : COMMAND_SUMMARY,
		.args = how->check ? "FILE" : NULL,
		.epilogue = how->check ? NULL : COMMAND_EPILOGUE,
		.opts = opts,
		.positional = how->check ? &reading.file : NULL,
		.source = &source,
	};
	int err;

	memset(o, 0, sizeof(*o));
	o->argc = argc;
	o->argv = argv;
	o->log = QP_LOG_CONFIG_DEFAULT("control-plane");
	qp_options_list(o, &given, opts);
	err = qp_opt_parse(&cmd, argc, argv, msg);
	if (err == 0 && how->check && reading.file.n != 1)
		err = qp_fail(msg, QP_E_INVAL, "name one FILE (" CHECK_NAME " --help)");
	if (err == 0 && o->private_api_listen.len == 0)
		o->private_api_listen = o->control_plane_addr;
	if (how->before != NULL) {
		o->privkey_in_words = how->before->privkey_in_words;
		o->psk_in_words = how->before->psk_in_words;
		qp_settings_take_secrets(&o->settings, &how->before->settings);
	}
	if (err == 0 && o->settings.incomplete)
		err = qp_fail(msg, QP_E_NOMEM, "out of memory");
	return err;
}

void
qp_options_free(struct qp_options *o)
{
	qp_secret_free(o->privkey);
	qp_secret_free(o->psk);
	o->privkey = o->psk = NULL;
	qp_config_free(o->file);
	o->file = NULL;
	qp_settings_free(&o->settings);
	free(o->reserved_ports.range);
	o->reserved_ports = (struct qp_options_ports) {0};
}

/* In what will not be used, for a person who mends a file in one go. */
static void
find_more_mistakes(struct qp_options *o, struct qp_mistakes *m)
{
	struct qp_policy *scratch = o->file != NULL ? qp_policy_new() : NULL;

	if (scratch != NULL)
		(void)qp_config_build(o->file, &(struct qp_config_base) {.unreadable = m}, scratch, m);
	qp_policy_free(scratch);
}

int
qp_options_read(struct qp_options *o, int argc, char **argv, const struct qp_options_how *how,
	struct qp_errmsg *msg)
{
	struct qp_mistakes *m = how->mistakes;
	int err;

	if (m == NULL)
		m = calloc(1, sizeof(*m));
	if (m == NULL)
		return qp_fail(msg, QP_E_NOMEM, "out of memory");
	err = run_parser(o, argc, argv, how, m, msg);
	if (err < 0 && qp_mistakes_count(m) == 0)
		qp_mistakes_add(m, err, "%s", msg->text); /* not the file's */
	if (err == 0 && qp_mistakes_count(m) > 0)
		err = QP_E_INVAL;
	if (err < 0)
		find_more_mistakes(o, m);
	if (err == 0) {
		err = qp_options_check(o, msg);
		if (err != 0)
			qp_options_locate(o, msg);
		if (err != 0)
			qp_mistakes_add(m, err, "%s", msg->text);
	}
	if (err < 0)
		qp_mistakes_sum_up(m, msg);
	if (err != 0)
		qp_options_free(o);
	if (how->mistakes == NULL)
		free(m);
	return err;
}

int
qp_options_parse(struct qp_options *o, int argc, char **argv, struct qp_errmsg *msg)
{
	return qp_options_read(o, argc, argv, &(struct qp_options_how) {0}, msg);
}
