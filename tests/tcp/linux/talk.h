/* SPDX-License-Identifier: Apache-2.0 */
#ifndef QP_TESTS_TCP_LINUX_TALK_H
#define QP_TESTS_TCP_LINUX_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the two ends of a test connection say, whatever stack carries it. The
 * driver sends a hello (how many bytes each way), then its bytes and its end;
 * the server sends its bytes at once, and its end when it has all of the
 * driver's and found them right: so that end is a receipt. No state but this.
 */
#define TALK_HELLO_BYTES 24

struct talk {
	bool drives;
	bool in_ended;
	uint8_t hello[TALK_HELLO_BYTES];
	uint64_t up, down;   /* driver's and server's bytes */
	uint64_t in, out;    /* so far, hello included */
};

void talk_drive(struct talk *t, uint64_t up, uint64_t down);
void talk_serve(struct talk *t);

/* Writes what is to be sent next, at most `room` bytes; returns how many. Changes nothing. */
size_t talk_peek(const struct talk *t, uint8_t *buf, size_t room);
/* `n` of them are sent. */
void talk_sent(struct talk *t, size_t n);
/* All is sent, and the end may be. */
bool talk_may_end(const struct talk *t);
/* False: these bytes are not what the other one should have sent. */
bool talk_take(struct talk *t, const uint8_t *buf, size_t len);
/* The other one's end has come. False: too early. */
bool talk_take_end(struct talk *t);

#endif
