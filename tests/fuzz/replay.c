/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target without libFuzzer: `fuzz_NAME CORPUS-FOLDER` replays each
 * input, each truncation of it, and mutations from a fixed seed. Every input
 * lies in a heap block of its own size, so that a sanitizer sees each byte
 * read beyond it. For a build with any compiler, and for the tests' every run.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <err.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define INPUT_MAX 65536u
#define MUTATIONS 2000u

static uint64_t state = 0x9e3779b97f4a7c15;

/* xorshift64*: the same numbers on every machine. */
static uint32_t
next_random(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 0x2545f4914f6cdd1d) >> 32);
}

static void
run(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + (len == 0));

	if (copy == NULL)
		err(1, "out of memory");
	if (len > 0)
		memcpy(copy, data, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

/* One to four changes: a byte set, a bit flipped, a byte taken out or put in. */
static size_t
mutate(uint8_t *data, size_t len)
{
	for (uint32_t n = 1 + next_random() % 4; n > 0; n--) {
		size_t at = len == 0 ? 0 : next_random() % len;

		switch (next_random() % 4) {
		case 0:
			if (len > 0)
				data[at] = (uint8_t)next_random();
			break;
		case 1:
			if (len > 0)
				data[at] ^= (uint8_t)(1u << next_random() % 8);
			break;
		case 2:
			if (len > 0)
				memmove(data + at, data + at + 1, --len - at);
			break;
		default:
			if (len < INPUT_MAX) {
				memmove(data + at + 1, data + at, len - at);
				data[at] = (uint8_t)next_random();
				len++;
			}
			break;
		}
	}
	return len;
}

static void
replay(const uint8_t *data, size_t len)
{
	static uint8_t changed[INPUT_MAX];
	/* Large inputs: some truncations, or a quadratic hour. */
	size_t step = len / 2048 + 1;

	run(data, len);
	for (size_t cut = 0; cut < len; cut += step)
		run(data, cut);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		memcpy(changed, data, len);
		run(changed, mutate(changed, len));
	}
}

static bool
replay_file(const char *folder, const char *name)
{
	static uint8_t data[INPUT_MAX];
	char path[PATH_MAX];
	size_t len;
	FILE *f;

	if (name[0] == '.')
		return false;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "rbe");
	if (f == NULL)
		err(1, "%s", path);
	len = fread(data, 1, sizeof(data), f);
	fclose(f);
	replay(data, len);
	return true;
}

int
main(int argc, char **argv)
{
	unsigned inputs = 0;
	DIR *d;

	if (argc != 2)
		errx(2, "usage: %s CORPUS-FOLDER", argv[0]);
	d = opendir(argv[1]);
	if (d == NULL)
		err(1, "%s", argv[1]);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		inputs += replay_file(argv[1], e->d_name);
	closedir(d);
	if (inputs == 0)
		errx(1, "%s: no inputs in it", argv[1]);
	printf("%u inputs, their truncations and %u mutations of each\n", inputs, MUTATIONS);
	return 0;
}
