/* SPDX-License-Identifier: Apache-2.0 */
/* What EAL is told of lcores: the first CPU of a list sleeps, whatever its number. */
#include <criterion/criterion.h>
#include <string.h>

#include "bench/options.h"
#include "dataplane/nic/port_setup.h"

/* No device is named here. */
int
qp_port_devargs_check(const char *devargs, bool *pci, struct qp_errmsg *msg)
{
	*pci = false;
	return 0;
}

static const char *
word(const char *lcores, const char *start)
{
	static char name[] = "quicport-bench";
	static char *argv[] = {name, NULL};
	const struct qpb_options o = {.lcores = lcores};
	int n;
	char **words = qpb_eal_words(0, argv, &o, &n);

	cr_assert_not_null(words);
	for (int i = 0; i < n; i++)
		if (strncmp(words[i], start, strlen(start)) == 0)
			return words[i];
	return "";
}

Test(eal_words, first_cpu_of_a_list_is_the_one_that_sleeps)
{
	cr_assert_str_eq(word("0,1", "--lcores"), "--lcores=0@0,1@1");
	cr_assert_str_eq(word("4,0-2", "--lcores"), "--lcores=0@4,1@0,2@1,3@2");
	cr_assert_str_eq(word("7", "--lcores"), "--lcores=0@7");
	/* Where there are too few, the one that sleeps shares. */
	cr_assert_str_eq(word("0,0,1", "--lcores"), "--lcores=0@0,1@0,2@1");
}

Test(eal_words, eals_own_form_and_what_is_no_list_go_to_eal_as_they_are)
{
	static const char *const no_lists[] = {"", "a", "1-", "2-1", "1,,2", "1,", "-1", "1 2", "0-99999999999999999999"};

	cr_assert_str_eq(word("0@0,7@(0,1)", "--lcores"), "--lcores=0@0,7@(0,1)");
	for (size_t i = 0; i < sizeof(no_lists) / sizeof(no_lists[0]); i++)
		cr_assert_str_eq(word(no_lists[i], "-l") + 2, no_lists[i]);
}
