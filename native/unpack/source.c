/*
 * Decompression and digests are those of ISA-L, zstd and libcrypto. The last one's plain SHA256 functions are called, which
 * OpenSSL 3 calls deprecated: its EVP interface brings the same code along with 3.6 MB of providers, and has every worker
 * touch 2.7 MB more.
 */
#include "unpack.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

/* Large enough that calls do not count, small enough that what was decompressed is still in the cache when it is hashed. */
enum { IN_BYTES = 128 * 1024, OUT_BYTES = 256 * 1024 };

enum compression { PLAIN, GZIP, ZSTD };

struct source {
	struct request *request;
	enum compression compression;
	struct inflate_state gzip;
	ZSTD_DStream *zstd;
	bool member_open;         /* inside a gzip member or a zstd frame */
	uint64_t blob_offset;     /* bytes read from the blob */
	uint64_t produced;        /* bytes decompressed */
	SHA256_CTX blob_sha, diff_sha;
	size_t in_at, in_end;     /* what is read and not yet decompressed */
	size_t out_at, out_end;   /* what is decompressed and not yet given out */
	uint8_t in[IN_BYTES];
	uint8_t out[OUT_BYTES];
};

static size_t waiting(const struct source *source) {
	return source->in_end - source->in_at;
}

/* Reads more of the blob behind what is left of the input. False at the blob's end. */
static bool fill(struct source *source) {
	struct request *request = source->request;
	size_t left = waiting(source);

	memmove(source->in, source->in + source->in_at, left);
	source->in_at = 0;
	source->in_end = left;
	request_poll(request);
	request_wait(request, source->blob_offset);
	uint64_t there = request->have - source->blob_offset;
	size_t room = IN_BYTES - left;
	if (there == 0)
		return false;
	ssize_t n = pread(request->blob, source->in + left, there < room ? (size_t)there : room, (off_t)source->blob_offset);
	if (n < 0)
		fail("read", errno, "the blob");
	if (n == 0)
		fail("read", 0, "the blob's file is shorter than the server said");
	SHA256_Update(&source->blob_sha, source->in + left, (size_t)n);
	source->in_end += (size_t)n;
	source->blob_offset += (uint64_t)n;
	return true;
}

static enum compression detect(struct source *source) {
	static const uint8_t zstd_frame[4] = {0x28, 0xb5, 0x2f, 0xfd};

	while (waiting(source) < 4 && fill(source))
		;
	const uint8_t *in = source->in + source->in_at;
	if (waiting(source) >= 2 && in[0] == 0x1f && in[1] == 0x8b)
		return GZIP;
	if (waiting(source) < 4)
		return PLAIN;
	/* A skippable frame (RFC 8878, 3.1.2) may come first. */
	bool skippable = (in[0] & 0xf0) == 0x50 && memcmp(in + 1, "\x2a\x4d\x18", 3) == 0;
	return memcmp(in, zstd_frame, 4) == 0 || skippable ? ZSTD : PLAIN;
}

struct source *source_open(struct request *request) {
	struct source *source = must_alloc(sizeof *source);

	source->request = request;
	SHA256_Init(&source->blob_sha);
	SHA256_Init(&source->diff_sha);
	source->compression = detect(source);
	if (source->compression == GZIP) {
		isal_inflate_init(&source->gzip);
		source->gzip.crc_flag = ISAL_GZIP;
	}
	if (source->compression == ZSTD) {
		source->zstd = ZSTD_createDStream();
		if (!source->zstd)
			fail("memory", ENOMEM, "the zstd reader");
		/* The window that zstd's own programs accept; without it a frame could ask for gigabytes. */
		ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, 27);
	}
	return source;
}

static void step_plain(struct source *source) {
	source->out_end = waiting(source);
	memcpy(source->out, source->in + source->in_at, source->out_end);
	source->in_at = source->in_end;
}

static const char *gzip_error(int result) {
	switch (result) {
	case ISAL_INVALID_BLOCK:
		return "a block is none";
	case ISAL_INVALID_SYMBOL:
		return "a code has no meaning";
	case ISAL_INVALID_LOOKBACK:
		return "a distance goes back too far";
	case ISAL_INVALID_WRAPPER:
		return "a member's header is wrong";
	case ISAL_UNSUPPORTED_METHOD:
		return "a member's method is not deflate";
	case ISAL_INCORRECT_CHECKSUM:
		return "a member's checksum is wrong";
	default:
		return "it is not readable";
	}
}

/* A gzip file may have several members (RFC 1952, 2.2); estargz and pigz write such. */
static void open_member(struct source *source) {
	while (waiting(source) < 4 && fill(source))
		;
	/* A bit that has no meaning must not be passed over (2.3.1.2), which ISA-L does. */
	if (waiting(source) >= 4 && source->in[source->in_at + 3] & 0xe0)
		fail("gzip", 0, "the layer's gzip stream is damaged: a member's header has unknown flags");
	isal_inflate_reset(&source->gzip);
}

static void step_gzip(struct source *source) {
	struct inflate_state *gzip = &source->gzip;

	if (!source->member_open)
		open_member(source);
	gzip->next_in = source->in + source->in_at;
	gzip->avail_in = (uint32_t)waiting(source);
	gzip->next_out = source->out;
	gzip->avail_out = OUT_BYTES;
	int result = isal_inflate(gzip);
	if (result != ISAL_DECOMP_OK)
		fail("gzip", 0, "the layer's gzip stream is damaged: %s", gzip_error(result));
	source->member_open = gzip->block_state != ISAL_BLOCK_FINISH;
	source->in_at = source->in_end - gzip->avail_in;
	source->out_end = OUT_BYTES - gzip->avail_out;
}

static void step_zstd(struct source *source) {
	ZSTD_inBuffer in = {source->in + source->in_at, waiting(source), 0};
	ZSTD_outBuffer out = {source->out, OUT_BYTES, 0};
	size_t result = ZSTD_decompressStream(source->zstd, &out, &in);

	if (ZSTD_isError(result))
		fail("zstd", 0, "the layer's zstd stream is damaged: %s", ZSTD_getErrorName(result));
	source->member_open = result != 0;
	source->in_at += in.pos;
	source->out_end = out.pos;
}

/* False at the end of the stream. */
static bool step(struct source *source) {
	while (source->out_end == 0) {
		bool more = waiting(source) > 0 || fill(source);
		if (!more && !source->member_open)
			return false;
		if (source->compression == GZIP)
			step_gzip(source);
		else if (source->compression == ZSTD)
			step_zstd(source);
		else
			step_plain(source);
		if (!more && source->out_end == 0 && source->member_open)
			fail("truncated", 0, "the layer's compressed stream ends too early");
	}
	return true;
}

/* False at the end of the stream. */
static bool refill(struct source *source) {
	source->out_at = source->out_end = 0;
	if (!step(source))
		return false;
	source->produced += source->out_end;
	if (source->produced > source->request->max_bytes)
		fail("limit", 0, "the layer has more than %llu bytes uncompressed", (unsigned long long)source->request->max_bytes);
	SHA256_Update(&source->diff_sha, source->out, source->out_end);
	return true;
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

static void finish(SHA256_CTX *sha, char hex[DIGEST_HEX]) {
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256_Final(digest, sha);
	for (size_t i = 0; i < sizeof digest; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void source_finish(struct source *source, char blob[DIGEST_HEX], char diff[DIGEST_HEX]) {
	const uint8_t *ignored;

	while (source_next(source, &ignored, OUT_BYTES) > 0)
		;
	finish(&source->blob_sha, blob);
	finish(&source->diff_sha, diff);
}
