/*
 * A gzip layer that is small, decompressed in one go. libdeflate does that two to three times as fast as zlib, and wants all of its
 * input and output in memory for it.
 */
#include "unpack.h"

#include <libdeflate.h>
#include <stdlib.h>

/* A damaged or dishonest archive can't make us take more than this. */
enum { WHOLE_OUTPUT = 64 << 20, GZIP_SHORTEST = 18 };

/* What its last member says about its length modulo 2^32 (RFC 1952, 2.3.1). */
static uint32_t length_of(const uint8_t *gzip, size_t length) {
	const uint8_t *end = gzip + length;

	return (uint32_t)end[-4] | (uint32_t)end[-3] << 8 | (uint32_t)end[-2] << 16 | (uint32_t)end[-1] << 24;
}

uint8_t *whole_gunzip(const uint8_t *gzip, size_t length, uint64_t max_bytes, size_t *made) {
	uint32_t room = length < GZIP_SHORTEST ? 0 : length_of(gzip, length);

	if (room == 0 || room > WHOLE_OUTPUT || room > max_bytes)
		return NULL;
	struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
	if (!decompressor)
		return NULL;
	uint8_t *out = must_alloc(room);
	size_t used;
	enum libdeflate_result result = libdeflate_gzip_decompress_ex(decompressor, gzip, length, out, room, &used, made);
	libdeflate_free_decompressor(decompressor);
	/* What is damaged, or has several members, is for zlib: it says what is wrong, and where a stream goes on. */
	if (result == LIBDEFLATE_SUCCESS && used == length)
		return out;
	free(out);
	return NULL;
}
