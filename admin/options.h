/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_ADMIN_OPTIONS_H
#define QP_ADMIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/opt.h"

/* Exit statuses of `quicport admin`. */
enum qpa_exit {
	QPA_EXIT_OK = 0,
	QPA_EXIT_FAILED = 1, /* the gateway did not answer, or refused */
	QPA_EXIT_USAGE = 2,
};

/* What every command takes: which API, and how to show its answers. */
struct qpa_options {
	const char *api;
	const char *token_file; /* NULL: none */
	const char *cacert;     /* NULL: the system's */
	uint32_t timeout_s;
	bool json;
	bool raw;
};

#define QPA_OPTIONS_API(o)                                                                         \
	QP_OPT_GROUP("Which gateway:"),                                                            \
	{.name = "api", .arg = "URL", .fallback = "http://127.0.0.1:39000",                        \
		.help = "its private API: http://…, https://… or unix:PATH",                       \
		.parse = qp_opt_string, .value = &(o)->api},                                       \
	{.name = "token-file", .arg = "FILE", .env = "QUICPORT_API_TOKEN_FILE",                    \
		.help = "a file with the API's token",                                             \
		.parse = qp_opt_string, .value = &(o)->token_file},                                \
	{.name = "cacert", .arg = "FILE", .env = "QUICPORT_API_CACERT",                            \
		.help = "who may have signed its certificate, instead of the system's list",       \
		.parse = qp_opt_string, .value = &(o)->cacert},                                    \
	{.name = "timeout", .arg = "SECONDS", .fallback = "10", .min = 1, .max = 3600, .env = "",  \
		.help = "give up after so long without an answer",                                 \
		.parse = qp_opt_u32, .value = &(o)->timeout_s}

#define QPA_OPTION_JSON(o)                                                                         \
	{.name = "json", .env = "", .help = "for programs: one JSON document",                     \
		.parse = qp_opt_flag, .value = &(o)->json}

#define QPA_OPTION_RAW(o)                                                                          \
	{.name = "raw", .env = "", .help = "whole numbers instead of 1.2M and 3m12s",              \
		.parse = qp_opt_flag, .value = &(o)->raw}

#endif
