/* Reads a message that somebody else made. Integers are little-endian; a text is a u32 length and that many bytes.
 * Every step is checked; after the first bad one, `bad` is set and all further reads give zero or nothing. */
#ifndef BERTH_READER_H
#define BERTH_READER_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static inline const uint8_t *take(struct reader *r, size_t length)
{
	if (r->bad || length > r->left) {
		r->bad = true;
		r->left = 0;
		return NULL;
	}
	const uint8_t *here = r->at;
	r->at += length;
	r->left -= length;
	return here;
}

static inline uint32_t take_u32(struct reader *r)
{
	uint32_t value = 0;
	const uint8_t *here = take(r, sizeof value);
	if (here)
		memcpy(&value, here, sizeof value);
	return value;
}

static inline uint64_t take_u64(struct reader *r)
{
	uint64_t value = 0;
	const uint8_t *here = take(r, sizeof value);
	if (here)
		memcpy(&value, here, sizeof value);
	return value;
}

/* The bytes stay where they are; no NUL follows them. */
static inline const uint8_t *take_bytes(struct reader *r, uint32_t *length)
{
	*length = take_u32(r);
	const uint8_t *here = take(r, *length);
	if (!here)
		*length = 0;
	return here;
}

/* Copies a text with a NUL behind it. A NUL inside it, or a longer one than fits, makes the message bad. */
static inline void take_text(struct reader *r, char *to, size_t size)
{
	uint32_t length;
	const uint8_t *here = take_bytes(r, &length);
	to[0] = 0;
	if (!here)
		return;
	if (length >= size || memchr(here, 0, length)) {
		r->bad = true;
		return;
	}
	memcpy(to, here, length);
	to[length] = 0;
}

#endif
