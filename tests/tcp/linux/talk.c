/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tcp/linux/talk.h"

#include <string.h>

#include "tests/tools/pattern.h"

#define MAGIC     UINT64_C(0x6b6c617470635471)
#define SEED_UP   1
#define SEED_DOWN 2

void
talk_drive(struct talk *t, uint64_t up, uint64_t down)
{
	const uint64_t words[] = {MAGIC, up, down};

	*t = (struct talk) {.drives = true, .up = up, .down = down};
	memcpy(t->hello, words, sizeof(words));
}

void
talk_serve(struct talk *t)
{
	*t = (struct talk) {.drives = false};
}

static size_t
least(uint64_t a, uint64_t b)
{
	return (size_t)(a < b ? a : b);
}

static uint64_t
out_total(const struct talk *t)
{
	if (t->drives)
		return TALK_HELLO_BYTES + t->up;
	return t->in >= TALK_HELLO_BYTES ? t->down : 0;
}

size_t
talk_peek(const struct talk *t, uint8_t *buf, size_t room)
{
	size_t n = 0;

	room = least(room, out_total(t) - t->out);
	if (!t->drives) {
		pattern_fill(SEED_DOWN, t->out, buf, room);
		return room;
	}
	if (t->out < TALK_HELLO_BYTES) {
		n = least(room, TALK_HELLO_BYTES - t->out);
		memcpy(buf, t->hello + t->out, n);
	}
	pattern_fill(SEED_UP, t->out + n - TALK_HELLO_BYTES, buf + n, room - n);
	return room;
}

void
talk_sent(struct talk *t, size_t n)
{
	t->out += n;
}

bool
talk_may_end(const struct talk *t)
{
	return t->out == out_total(t) && (t->drives || t->in_ended);
}

/* The server's part of talk_take. Returns how many bytes were the hello's. */
static size_t
take_hello(struct talk *t, const uint8_t *buf, size_t len)
{
	size_t n = least(len, TALK_HELLO_BYTES - t->in);

	memcpy(t->hello + t->in, buf, n);
	t->in += n;
	if (t->in == TALK_HELLO_BYTES) {
		memcpy(&t->up, t->hello + 8, 8);
		memcpy(&t->down, t->hello + 16, 8);
	}
	return n;
}

bool
talk_take(struct talk *t, const uint8_t *buf, size_t len)
{
	const uint64_t magic = MAGIC;
	uint64_t skip = t->drives ? 0 : TALK_HELLO_BYTES;

	if (t->in < skip) {
		size_t n = take_hello(t, buf, len);

		if (t->in == skip && memcmp(t->hello, &magic, sizeof(magic)) != 0)
			return false;
		buf += n;
		len -= n;
	}
	if (len == 0)
		return true;
	if (t->in - skip + len > (t->drives ? t->down : t->up) ||
		!pattern_matches(t->drives ? SEED_DOWN : SEED_UP, t->in - skip, buf, len))
		return false;
	t->in += len;
	return true;
}

bool
talk_take_end(struct talk *t)
{
	t->in_ended = true;
	return t->drives ? t->in == t->down : t->in >= TALK_HELLO_BYTES && t->in == TALK_HELLO_BYTES + t->up;
}
