/* SPDX-License-Identifier: Apache-2.0 */
#include "junk.h"

#include <string.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/hmac.h>

/*
 * Junk for a QUIC port (RFC 9000, 9001). Initial packets are sealed with the
 * keys that any client can derive, so that mutations of their contents reach
 * the frame parser and TLS and not only the header checks. Sealing is slow:
 * a few sealed packets are kept and sent many times, mutated anew. One thread.
 */

enum {
	POOL_PACKETS = 64,
	INITIAL_BYTES = 1200,
	TAG_BYTES = 16,
	CID_BYTES = 8,
};

struct sealed {
	size_t len;
	uint8_t bytes[JUNK_MAX_BYTES];
};

static struct sealed pool[POOL_PACKETS];

/* ---- a ClientHello by hand ---- */

struct out {
	uint8_t *p;
};

static void
put(struct out *o, const void *bytes, size_t len)
{
	memcpy(o->p, bytes, len);
	o->p += len;
}

static void
put_u8(struct out *o, uint8_t value)
{
	*o->p++ = value;
}

static void
put_u16(struct out *o, uint16_t value)
{
	put_u8(o, (uint8_t)(value >> 8));
	put_u8(o, (uint8_t)value);
}

/* Room for a length that is known later; its place is the return value. */
static uint8_t *
begin_u16(struct out *o)
{
	uint8_t *at = o->p;

	o->p += 2;
	return at;
}

static void
end_u16(struct out *o, uint8_t *at)
{
	size_t len = (size_t)(o->p - at) - 2;

	at[0] = (uint8_t)(len >> 8);
	at[1] = (uint8_t)len;
}

static void
put_extensions(struct out *o, struct junk_rng *rng, const uint8_t scid[CID_BYTES])
{
	/* clang-format off */
	static const uint8_t fixed[] = {
		0x00, 0x2b, 0, 3, 2, 0x03, 0x04,                            /* supported_versions */
		0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x1d,                         /* supported_groups */
		0x00, 0x0d, 0, 8, 0, 6, 0x04, 0x03, 0x08, 0x04, 0x08, 0x07, /* signature_algorithms */
		0x00, 0x10, 0, 13, 0, 11, 10, 'q', 'u', 'i', 'c', 'p', 'o', 'r', 't', '/', '1',
		0x00, 0x00, 0, 13, 0, 11, 0, 0, 8, 'q', 'u', 'i', 'c', 'p', 'o', 'r', 't',
		0x00, 0x33, 0, 38, 0, 36, 0x00, 0x1d, 0, 32,                /* key_share; key follows */
	};
	static const uint8_t params[] = {
		0x04, 4, 0x80, 0x10, 0, 0, /* initial_max_data */
		0x05, 4, 0x80, 0x10, 0, 0, /* initial_max_stream_data_bidi_local */
		0x08, 2, 0x40, 0x64,       /* initial_max_streams_bidi */
		0x0f, CID_BYTES,           /* initial_source_connection_id; it follows */
	};
	/* clang-format on */
	uint8_t key[32];

	put(o, fixed, sizeof(fixed));
	junk_bytes(rng, key, sizeof(key));
	put(o, key, sizeof(key));
	put_u16(o, 0x39); /* quic_transport_parameters */
	put_u16(o, sizeof(params) + CID_BYTES);
	put(o, params, sizeof(params));
	put(o, scid, CID_BYTES);
}

/* A CRYPTO frame with a whole ClientHello. */
static void
put_client_hello(struct out *o, struct junk_rng *rng, const uint8_t scid[CID_BYTES])
{
	uint8_t random[32];
	uint8_t *frame, *message, *extensions;

	put_u8(o, 0x06); /* CRYPTO */
	put_u8(o, 0); /* offset */
	frame = begin_u16(o);
	put_u8(o, 1); /* client_hello */
	put_u8(o, 0); /* the third byte of its length */
	message = begin_u16(o);
	put_u16(o, 0x0303);
	junk_bytes(rng, random, sizeof(random));
	put(o, random, sizeof(random));
	put_u8(o, 0); /* no session id */
	put_u16(o, 2); /* cipher suites */
	put_u16(o, 0x1301); /* AES-128-GCM */
	put_u8(o, 1);
	put_u8(o, 0); /* no compression */
	extensions = begin_u16(o);
	put_extensions(o, rng, scid);
	end_u16(o, extensions);
	end_u16(o, message);
	end_u16(o, frame);
	frame[0] |= 0x40; /* a two-byte variable-length integer */
}

/* ---- sealing ---- */

static void
expand_label(const uint8_t secret[32], const char *label, uint8_t *out, uint16_t len)
{
	uint8_t info[64];
	struct out o = {info};
	size_t n = strlen(label);

	put_u16(&o, len);
	put_u8(&o, (uint8_t)(6 + n));
	put(&o, "tls13 ", 6);
	put(&o, label, n);
	put_u8(&o, 0);
	wc_HKDF_Expand(WC_SHA256, secret, 32, info, (word32)(o.p - info), out, len);
}

static void
seal(uint8_t *packet, size_t header_len, size_t payload_len, const uint8_t *dcid, size_t dcid_len)
{
	static const uint8_t salt[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
		0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
	uint8_t initial[32], client[32], key[16], iv[12], hp[16], mask[16];
	uint8_t *payload = packet + header_len;
	Aes aes;

	wc_HKDF_Extract(WC_SHA256, salt, sizeof(salt), dcid, (word32)dcid_len, initial);
	expand_label(initial, "client in", client, sizeof(client));
	expand_label(client, "quic key", key, sizeof(key));
	expand_label(client, "quic iv", iv, sizeof(iv));
	expand_label(client, "quic hp", hp, sizeof(hp));

	/* The packet number is 0 and 4 bytes long: the nonce is the IV. */
	wc_AesInit(&aes, NULL, INVALID_DEVID);
	wc_AesGcmSetKey(&aes, key, sizeof(key));
	wc_AesGcmEncrypt(&aes, payload, payload, (word32)payload_len, iv, sizeof(iv),
		payload + payload_len, TAG_BYTES, packet, (word32)header_len);
	wc_AesFree(&aes);

	wc_AesInit(&aes, NULL, INVALID_DEVID);
	wc_AesSetKey(&aes, hp, sizeof(hp), NULL, AES_ENCRYPTION);
	wc_AesEcbEncrypt(&aes, mask, payload, sizeof(mask));
	wc_AesFree(&aes);
	packet[0] ^= mask[0] & 0x0f;
	for (int i = 0; i < 4; i++)
		payload[i - 4] ^= mask[1 + i];
}

/* An Initial packet that a server must open; what is in it may be wrong. */
static void
make_initial(struct junk_rng *rng, struct sealed *s)
{
	uint8_t dcid[20], scid[CID_BYTES];
	uint8_t dcid_len = (uint8_t)(8 + junk_below(rng, 13));
	struct out o = {s->bytes};
	uint8_t *length, *frames;
	size_t header_len, payload_len;

	memset(s->bytes, 0, sizeof(s->bytes));
	junk_bytes(rng, dcid, sizeof(dcid));
	junk_bytes(rng, scid, sizeof(scid));
	put_u8(&o, 0xc3); /* Initial, packet number of 4 bytes */
	put(&o, "\0\0\0\1", 4);
	put_u8(&o, dcid_len);
	put(&o, dcid, dcid_len);
	put_u8(&o, CID_BYTES);
	put(&o, scid, CID_BYTES);
	put_u8(&o, 0); /* no token */
	length = begin_u16(&o);
	put(&o, "\0\0\0\0", 4);
	header_len = (size_t)(o.p - s->bytes);
	payload_len = INITIAL_BYTES - TAG_BYTES - header_len;
	frames = o.p;
	put_client_hello(&o, rng, scid);
	if (junk_below(rng, 4) != 0)
		junk_mutate(rng, frames, (size_t)(o.p - frames), (size_t)(o.p - frames));
	if (junk_below(rng, 8) == 0)
		junk_bytes(rng, frames, payload_len);
	o.p = s->bytes + INITIAL_BYTES;
	end_u16(&o, length);
	length[0] |= 0x40;
	seal(s->bytes, header_len, payload_len, dcid, dcid_len);
	s->len = INITIAL_BYTES;
}

/* ---- kinds of packets ---- */

static size_t
initial_from_pool(struct junk_rng *rng, uint8_t *buf)
{
	struct sealed *s = &pool[junk_below(rng, POOL_PACKETS)];

	if (s->len == 0 || junk_below(rng, 32) == 0)
		make_initial(rng, s);
	memcpy(buf, s->bytes, s->len);
	if (junk_below(rng, 3) == 0)
		return s->len;
	return junk_mutate(rng, buf, s->len, JUNK_MAX_BYTES);
}

/* Long headers of all types, known and unknown versions, any connection id lengths. */
static size_t
long_header(struct junk_rng *rng, uint8_t *buf)
{
	static const uint32_t versions[] = {1, 0, 0x6b3343cf, 0xff00001d, 0x1a2a3a4a, 0xffffffff};
	uint32_t version = versions[junk_below(rng, 6)];
	size_t len = junk_below(rng, 2) ? INITIAL_BYTES : 7 + junk_below(rng, 1400);

	junk_bytes(rng, buf, len);
	buf[0] = (uint8_t)(0x80 | (junk_random(rng) & 0x7f));
	buf[1] = (uint8_t)(version >> 24);
	buf[2] = (uint8_t)(version >> 16);
	buf[3] = (uint8_t)(version >> 8);
	buf[4] = (uint8_t)version;
	buf[5] = (uint8_t)(junk_below(rng, 4) ? junk_below(rng, 21) : junk_random(rng));
	return len;
}

/* Short headers whose connection ids look like ours: server ids that exist, and those that don't. */
static size_t
short_header(struct junk_rng *rng, uint8_t *buf)
{
	size_t len = 1 + junk_below(rng, 1400);

	junk_bytes(rng, buf, len < 24 ? 24 : len);
	buf[0] = (uint8_t)(0x40 | (buf[0] & 0x3f));
	if (junk_below(rng, 4) != 0) {
		buf[1] = buf[2] = buf[3] = 0;
		buf[4] = (uint8_t)(1 + junk_below(rng, 3));
		if (junk_below(rng, 2) != 0)
			buf[5] = (uint8_t)junk_below(rng, 4);
	}
	return len;
}

static size_t
noise(struct junk_rng *rng, uint8_t *buf)
{
	size_t len = junk_below(rng, JUNK_MAX_BYTES - 47);

	junk_bytes(rng, buf, len);
	return len;
}

/* Two packets in a datagram. */
static size_t
coalesced(struct junk_rng *rng, uint8_t *buf)
{
	size_t len = initial_from_pool(rng, buf);
	uint8_t more[JUNK_MAX_BYTES];
	size_t n = long_header(rng, more);

	if (n > JUNK_MAX_BYTES - len)
		n = JUNK_MAX_BYTES - len;
	memcpy(buf + len, more, n);
	return len + n;
}

size_t
junk_quic(struct junk_rng *rng, uint8_t buf[JUNK_MAX_BYTES])
{
	switch (junk_below(rng, 8)) {
	case 0:
		return noise(rng, buf);
	case 1:
		return coalesced(rng, buf);
	case 2:
		return long_header(rng, buf);
	case 3:
	case 4:
		return short_header(rng, buf);
	default:
		return initial_from_pool(rng, buf);
	}
}
