/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What options' values may be. Each parser stores into opt->value, or says
 * what it expected. At the start of a process.
 */
#include "common/opt.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

int
qp_opt_string(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (text[0] == '\0')
		return qp_fail(msg, QP_E_INVAL, "a value that is not empty");
	*(const char **)opt->value = text;
	return QP_OK;
}

int
qp_opt_strings(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_opt_strings *list = opt->value;

	if (text[0] == '\0')
		return qp_fail(msg, QP_E_INVAL, "a value that is not empty");
	if (list->n == QP_OPT_MAX_STRINGS)
		return qp_fail(msg, QP_E_INVAL, "at most %u of it", QP_OPT_MAX_STRINGS);
	list->v[list->n++] = text;
	return QP_OK;
}

int
qp_opt_flag(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*(bool *)opt->value = (i & 1) != 0;
			return QP_OK;
		}
	}
	return qp_fail(msg, QP_E_INVAL, "1, true, yes or on; or 0, false, no or off");
}

/* Decimal digits alone. */
static bool
parse_number(const char *text, uint64_t *out)
{
	uint64_t value = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9' ||
			__builtin_mul_overflow(value, (uint64_t)10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;
	}
	*out = value;
	return true;
}

static int
parse_ranged(const struct qp_opt *opt, const char *text, uint64_t ceiling, uint64_t *out,
	struct qp_errmsg *msg)
{
	uint64_t max = opt->max == 0 ? ceiling : opt->max;

	if (parse_number(text, out) && *out >= opt->min && *out <= max)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL, "a number from %" PRIu64 " to %" PRIu64, opt->min, max);
}

int
qp_opt_u32(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	uint64_t value;
	int err = parse_ranged(opt, text, UINT32_MAX, &value, msg);

	if (err == QP_OK)
		*(uint32_t *)opt->value = (uint32_t)value;
	return err;
}

int
qp_opt_u64(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	uint64_t value;
	int err = parse_ranged(opt, text, UINT64_MAX, &value, msg);

	if (err == QP_OK)
		*(uint64_t *)opt->value = value;
	return err;
}

int
qp_opt_choice(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	char list[160] = "";
	size_t used = 0;

	for (int i = 0; opt->choices[i] != NULL; i++) {
		if (strcmp(text, opt->choices[i]) == 0) {
			*(int *)opt->value = i;
			return QP_OK;
		}
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
				i == 0 ? "" : opt->choices[i + 1] == NULL ? " or " : ", ",
				opt->choices[i]);
	}
	return qp_fail(msg, QP_E_INVAL, "%s", list);
}

int
qp_opt_secret(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	struct qp_secret **out = opt->value;

	if (text[0] == '\0')
		return qp_fail(msg, QP_E_INVAL, "a value that is not empty");
	qp_secret_free(*out);
	*out = qp_secret_new(text, strlen(text));
	return *out == NULL ? QP_E_NOMEM : QP_OK;
}

int
qp_opt_listen(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (qp_sockaddr_parse(text, opt->value, NULL) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL,
		"a numeric ADDR:PORT, such as 127.0.0.1:39000 or [::1]:39000");
}

int
qp_opt_server(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (qp_target_parse(text, QP_ADDR_NEED_HOST, opt->value, NULL) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL,
		"HOST:PORT, port 1 to 65535, such as gateway.example:39000 or [2001:db8::1]:39000");
}

int
qp_opt_target(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (qp_target_parse(text, QP_ADDR_HOST | QP_ADDR_PROTO, opt->value, NULL) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL,
		"[ADDR:]PORT[/tcp|/udp], port 1 to 65535, such as 22, 127.0.0.1:80 or 53/udp");
}

int
qp_opt_port(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (qp_target_parse(text, QP_ADDR_PROTO, opt->value, NULL) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL,
		"PORT[/tcp|/udp], port 1 to 65535, such as 9000, 9000/tcp or 5353/udp");
}

int
qp_opt_ip(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (qp_ip_parse_text(text, opt->value, NULL) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL, "a numeric address, such as 192.0.2.1 or 2001:db8::1");
}

int
qp_opt_log_level(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	return qp_log_levels_parse(text, opt->value, msg);
}

int
qp_opt_log_format(const struct qp_opt *opt, const char *text, struct qp_errmsg *msg)
{
	if (qp_log_format_parse(text, opt->value) == QP_OK)
		return QP_OK;
	return qp_fail(msg, QP_E_INVAL, "console or json");
}
