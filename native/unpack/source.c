#include "unpack.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

/* Large enough that calls do not count, small enough that what was decompressed is still in the cache when it is hashed. */
enum { IN_BYTES = 128 * 1024, OUT_BYTES = 256 * 1024 };

enum compression { PLAIN, GZIP, ZSTD };

struct source {
	struct request *request;
	enum compression compression;
	z_stream zlib;
	ZSTD_DStream *zstd;
	bool member_open;         /* inside a gzip member or a zstd frame */
	uint64_t blob_offset;     /* bytes read from the blob */
	uint64_t produced;        /* bytes decompressed */
	struct sha256 blob_sha, diff_sha;
	size_t in_at, in_end;
	size_t out_at, out_end;
	uint8_t in[IN_BYTES];
	uint8_t out[OUT_BYTES];
};

/* Reads more of the blob behind what is left in `in`. False at the blob's end. */
static bool fill(struct source *source) {
	struct request *request = source->request;

	if (source->in_at == source->in_end)
		source->in_at = source->in_end = 0;
	if (source->in_end == IN_BYTES)
		return true;
	request_poll(request);
	request_wait(request, source->blob_offset);
	uint64_t there = request->have - source->blob_offset;
	if (there == 0)
		return false;
	size_t room = IN_BYTES - source->in_end;
	ssize_t n = pread(request->blob, source->in + source->in_end, there < room ? (size_t)there : room,
			  (off_t)source->blob_offset);
	if (n < 0)
		fail("read", errno, "the blob");
	if (n == 0)
		fail("read", 0, "the blob's file is shorter than the server said");
	sha256_add(&source->blob_sha, source->in + source->in_end, (size_t)n);
	source->in_end += (size_t)n;
	source->blob_offset += (uint64_t)n;
	return true;
}

static enum compression detect(struct source *source) {
	static const uint8_t zstd_frame[4] = {0x28, 0xb5, 0x2f, 0xfd};

	while (source->in_end < 4 && fill(source))
		;
	if (source->in_end >= 2 && source->in[0] == 0x1f && source->in[1] == 0x8b)
		return GZIP;
	if (source->in_end < 4)
		return PLAIN;
	/* A skippable frame (RFC 8878, 3.1.2) may come first. */
	bool skippable = (source->in[0] & 0xf0) == 0x50 && memcmp(source->in + 1, "\x2a\x4d\x18", 3) == 0;
	return memcmp(source->in, zstd_frame, 4) == 0 || skippable ? ZSTD : PLAIN;
}

struct source *source_open(struct request *request) {
	struct source *source = must_alloc(sizeof *source);

	source->request = request;
	sha256_start(&source->blob_sha);
	sha256_start(&source->diff_sha);
	source->compression = detect(source);
	if (source->compression == GZIP && inflateInit2(&source->zlib, 15 + 16) != Z_OK)
		fail("memory", ENOMEM, "the gzip reader");
	if (source->compression == ZSTD) {
		source->zstd = ZSTD_createDStream();
		if (!source->zstd)
			fail("memory", ENOMEM, "the zstd reader");
		/* The window that zstd's own programs accept; without it a frame could ask for gigabytes. */
		ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, 27);
	}
	return source;
}

static size_t produce_plain(struct source *source) {
	size_t there = source->in_end - source->in_at;
	size_t n = there < OUT_BYTES ? there : OUT_BYTES;

	memcpy(source->out, source->in + source->in_at, n);
	source->in_at += n;
	return n;
}

/* A gzip file may have several members (RFC 1952, 2.2); estargz and pigz write such. */
static size_t produce_gzip(struct source *source) {
	z_stream *z = &source->zlib;

	if (!source->member_open) {
		inflateReset(z);
		source->member_open = true;
	}
	z->next_in = source->in + source->in_at;
	z->avail_in = (uInt)(source->in_end - source->in_at);
	z->next_out = source->out;
	z->avail_out = OUT_BYTES;
	int result = inflate(z, Z_NO_FLUSH);
	source->in_at = source->in_end - z->avail_in;
	if (result == Z_STREAM_END)
		source->member_open = false;
	else if (result == Z_MEM_ERROR)
		fail("memory", ENOMEM, "the gzip reader");
	else if (result != Z_OK && result != Z_BUF_ERROR)
		fail("gzip", 0, "the layer's gzip stream is damaged: %s", z->msg ? z->msg : "unknown");
	return OUT_BYTES - z->avail_out;
}

static size_t produce_zstd(struct source *source) {
	ZSTD_inBuffer in = {source->in + source->in_at, source->in_end - source->in_at, 0};
	ZSTD_outBuffer out = {source->out, OUT_BYTES, 0};
	size_t result = ZSTD_decompressStream(source->zstd, &out, &in);

	if (ZSTD_isError(result))
		fail("zstd", 0, "the layer's zstd stream is damaged: %s", ZSTD_getErrorName(result));
	source->member_open = result != 0;
	source->in_at += in.pos;
	return out.pos;
}

static size_t produce(struct source *source) {
	switch (source->compression) {
	case GZIP:
		return produce_gzip(source);
	case ZSTD:
		return produce_zstd(source);
	case PLAIN:
		break;
	}
	return produce_plain(source);
}

/* False at the end of the stream. */
static bool refill(struct source *source) {
	source->out_at = source->out_end = 0;
	for (;;) {
		bool more = source->in_at < source->in_end || fill(source);
		/* A decompressor may hold output back even when all of its input is taken. */
		if (!more && !source->member_open)
			return false;
		size_t n = produce(source);
		if (n > 0) {
			source->produced += n;
			if (source->produced > source->request->max_bytes)
				fail("limit", 0, "the layer has more than %llu bytes uncompressed",
				     (unsigned long long)source->request->max_bytes);
			sha256_add(&source->diff_sha, source->out, n);
			source->out_end = n;
			return true;
		}
		if (!more && source->member_open)
			fail("truncated", 0, "the layer's compressed stream ends too early");
	}
}

size_t source_next(struct source *source, const uint8_t **data, size_t max) {
	if (source->out_at == source->out_end && !refill(source))
		return 0;
	size_t there = source->out_end - source->out_at;
	size_t n = there < max ? there : max;
	*data = source->out + source->out_at;
	source->out_at += n;
	return n;
}

void source_read(struct source *source, void *data, size_t length) {
	uint8_t *to = data;
	const uint8_t *from;

	while (length > 0) {
		size_t n = source_next(source, &from, length);
		if (n == 0)
			fail("truncated", 0, "the layer's archive ends in the middle of an entry");
		memcpy(to, from, n);
		to += n;
		length -= n;
	}
}

void source_skip(struct source *source, uint64_t length) {
	const uint8_t *from;

	while (length > 0) {
		size_t n = source_next(source, &from, length < OUT_BYTES ? (size_t)length : OUT_BYTES);
		if (n == 0)
			fail("truncated", 0, "the layer's archive ends in the middle of an entry");
		length -= n;
	}
}

uint64_t source_offset(const struct source *source) {
	return source->produced - (source->out_end - source->out_at);
}

void source_finish(struct source *source, char blob[DIGEST_HEX], char diff[DIGEST_HEX]) {
	const uint8_t *ignored;

	while (source_next(source, &ignored, OUT_BYTES) > 0)
		;
	sha256_finish(&source->blob_sha, blob);
	sha256_finish(&source->diff_sha, diff);
}
