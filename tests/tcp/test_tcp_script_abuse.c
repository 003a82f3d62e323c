/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "tests/tcp/script.h"

TestSuite(tcp_abuse, .init = script_suite_start);
