/* Inflate (RFC 1951), for a whole stream that is read from front to back into one buffer. */
#ifndef BERTH_INFLATE_H
#define BERTH_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WINDOW_BYTES = 32 * 1024,
	LITERAL_BITS = 11,
	DISTANCE_BITS = 8,
	/* The first level, and for each symbol with a longer code at most one second level. */
	LITERAL_ENTRIES = (1 << LITERAL_BITS) + 288 * (1 << (15 - LITERAL_BITS)),
	DISTANCE_ENTRIES = (1 << DISTANCE_BITS) + 32 * (1 << (15 - DISTANCE_BITS)),
	/* A match may write so far behind the end that it was given. */
	OUTPUT_SLACK = 258 + 16,
	/* Bytes before the input's position that have to stay: those that are in the bit buffer. */
	INPUT_LEAD = 8,
};

/* Where the input comes from; `more` reads behind `end` and may move what is there. False: there is no more. */
struct input {
	const uint8_t *at, *end;
	bool (*more)(struct input *input);
};

enum inflate_result { INFLATE_MORE, INFLATE_END, INFLATE_TRUNCATED, INFLATE_DAMAGED };

struct inflate {
	uint64_t bits;
	unsigned count;           /* valid bits */
	unsigned fake;            /* zero bytes of them that stand in for an input that has ended */
	enum { BLOCK_HEADER, BLOCK_STORED, BLOCK_HUFFMAN } state;
	bool last;                /* this is the stream's last block */
	uint32_t stored;          /* bytes left of a stored block */
	uint32_t literals[LITERAL_ENTRIES];
	uint32_t distances[DISTANCE_ENTRIES];
};

void inflate_start(struct inflate *inflate);
/*
 * Writes from `*out` on until `limit` is reached, or a little more (OUTPUT_SLACK). `base` is the first byte of what matches may
 * refer to. At INFLATE_END the input stands behind the stream's last byte.
 */
enum inflate_result inflate_run(struct inflate *inflate, struct input *input, const uint8_t *base, uint8_t **out, const uint8_t *limit);

#endif
