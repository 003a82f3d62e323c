/* SPDX-License-Identifier: Apache-2.0 */
/* Levels, formats and modules of the log: their names, and who logs how much. Any thread. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"

#define X(name, help) QP_LOG_INFO,
_Atomic int qp_log_threshold[QP_LOG_NMODULES] = {QP_LOG_MODULES(X)};
#undef X

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};
static const char *const format_names[] = {"console", "json"};
#define X(name, help) #name,
static const char *const module_names[] = {QP_LOG_MODULES(X)};
#undef X

/* `len` bytes of text, in any case. */
static int
name_index(const char *text, size_t len, const char *const *names, int n)
{
	for (int i = 0; i < n; i++) {
		if (strlen(names[i]) == len && strncasecmp(text, names[i], len) == 0)
			return i;
	}
	return -1;
}

int
qp_log_level_parse(const char *text, enum qp_log_level *level)
{
	int i = name_index(text, strlen(text), level_names, QP_LOG_TRACE + 1);

	if (i < 0)
		return QP_E_INVAL;
	*level = (enum qp_log_level)i;
	return QP_OK;
}

int
qp_log_format_parse(const char *text, enum qp_log_format *format)
{
	int i = name_index(text, strlen(text), format_names, QP_LOG_JSON + 1);

	if (i < 0)
		return QP_E_INVAL;
	*format = (enum qp_log_format)i;
	return QP_OK;
}

int
qp_log_module_parse(const char *text, enum qp_log_module *module)
{
	int i = name_index(text, strlen(text), module_names, QP_LOG_NMODULES);

	if (i < 0)
		return QP_E_INVAL;
	*module = (enum qp_log_module)i;
	return QP_OK;
}

const char *
qp_log_level_name(enum qp_log_level level)
{
	return (unsigned)level <= QP_LOG_TRACE ? level_names[level] : "unknown";
}

const char *
qp_log_format_name(enum qp_log_format format)
{
	return (unsigned)format <= QP_LOG_JSON ? format_names[format] : "unknown";
}

const char *
qp_log_module_name(enum qp_log_module module)
{
	return (unsigned)module < QP_LOG_NMODULES ? module_names[module] : "unknown";
}

static int
refuse(struct qp_errmsg *msg)
{
	return qp_fail(msg, QP_E_INVAL,
		"error, warn, info, debug or trace, or some of them by module: "
		"info,auth=debug,http=warn");
}

/* "LEVEL" or "MODULE=LEVEL". */
static int
take_part(const char *part, size_t len, struct qp_log_config *cfg)
{
	const char *equal = memchr(part, '=', len);
	const char *level = equal != NULL ? equal + 1 : part;
	int value = name_index(level, len - (size_t)(level - part), level_names, QP_LOG_TRACE + 1);
	int module = equal == NULL ? 0
				   : name_index(part, (size_t)(equal - part), module_names,
					     QP_LOG_NMODULES);

	if (value < 0 || module < 0)
		return QP_E_INVAL;
	if (equal == NULL)
		cfg->level = (enum qp_log_level)value;
	else
		cfg->module[module] = (uint8_t)(value + 1);
	return 0;
}

int
qp_log_levels_parse(const char *text, struct qp_log_config *cfg, struct qp_errmsg *msg)
{
	struct qp_log_config fresh = *cfg;

	memset(fresh.module, 0, sizeof(fresh.module));
	for (;;) {
		size_t len = strcspn(text, ",");

		if (take_part(text, len, &fresh) != 0)
			return refuse(msg);
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	*cfg = fresh;
	return 0;
}

void
qp_log_set_module_level(enum qp_log_module module, enum qp_log_level level)
{
	atomic_store_explicit(&qp_log_threshold[module], (int)level, memory_order_relaxed);
}

void
qp_log_set_level(enum qp_log_level level)
{
	for (int i = 0; i < QP_LOG_NMODULES; i++)
		qp_log_set_module_level((enum qp_log_module)i, level);
}

void
qp_log_apply_levels(const struct qp_log_config *cfg)
{
	for (int i = 0; i < QP_LOG_NMODULES; i++)
		qp_log_set_module_level((enum qp_log_module)i,
			cfg->module[i] != 0 ? (enum qp_log_level)(cfg->module[i] - 1) : cfg->level);
}

enum qp_log_level
qp_log_module_level(enum qp_log_module module)
{
	return (enum qp_log_level)atomic_load_explicit(
		&qp_log_threshold[module], memory_order_relaxed);
}

const char *
qp_log_levels_text(char out[QP_LOG_LEVELS_BYTES])
{
	enum qp_log_level all = qp_log_module_level(QP_LOG_M_general);
	size_t used = (size_t)snprintf(out, QP_LOG_LEVELS_BYTES, "%s", qp_log_level_name(all));

	for (int i = 0; i < QP_LOG_NMODULES; i++) {
		enum qp_log_level level = qp_log_module_level((enum qp_log_module)i);

		if (level != all && used < QP_LOG_LEVELS_BYTES)
			used += (size_t)snprintf(out + used, QP_LOG_LEVELS_BYTES - used, ",%s=%s",
				module_names[i], qp_log_level_name(level));
	}
	return out;
}
