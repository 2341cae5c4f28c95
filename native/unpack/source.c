#include "unpack.h"

#include "inflate.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

/* Large enough that calls do not count, small enough that what was decompressed is still in the cache when it is hashed. */
enum { IN_BYTES = 128 * 1024, OUT_BYTES = 256 * 1024 };

enum compression { PLAIN, GZIP, ZSTD };

struct source {
	struct input input;       /* must be first: see read_more() */
	struct request *request;
	enum compression compression;
	struct inflate inflate;
	ZSTD_DStream *zstd;
	bool member_open;         /* inside a gzip member or a zstd frame */
	uint32_t member_bytes;    /* uncompressed, modulo 2^32 */
	uint64_t blob_offset;     /* bytes read from the blob */
	uint64_t produced;        /* bytes decompressed */
	struct sha256 blob_sha, diff_sha;
	size_t base;              /* first byte of `out` that a match may refer to */
	size_t out_at, out_end;
	uint8_t in[INPUT_LEAD + IN_BYTES];
	/* What gzip's matches may refer to, then what was just decompressed. */
	uint8_t out[WINDOW_BYTES + OUT_BYTES + OUTPUT_SLACK];
};

/* Reads more of the blob behind what is left of the input. False at the blob's end. */
static bool fill(struct source *source) {
	struct request *request = source->request;
	struct input *input = &source->input;
	size_t left = (size_t)(input->end - input->at);

	memmove(source->in, input->at - INPUT_LEAD, INPUT_LEAD + left);
	input->at = source->in + INPUT_LEAD;
	input->end = input->at + left;
	size_t room = IN_BYTES - left;
	if (room == 0)
		return true;
	request_poll(request);
	request_wait(request, source->blob_offset);
	uint64_t there = request->have - source->blob_offset;
	if (there == 0)
		return false;
	uint8_t *to = source->in + INPUT_LEAD + left;
	ssize_t n = pread(request->blob, to, there < room ? (size_t)there : room, (off_t)source->blob_offset);
	if (n < 0)
		fail("read", errno, "the blob");
	if (n == 0)
		fail("read", 0, "the blob's file is shorter than the server said");
	sha256_add(&source->blob_sha, to, (size_t)n);
	input->end += n;
	source->blob_offset += (uint64_t)n;
	return true;
}

static bool read_more(struct input *input) {
	return fill((struct source *)input);
}

static size_t waiting(const struct source *source) {
	return (size_t)(source->input.end - source->input.at);
}

static enum compression detect(struct source *source) {
	static const uint8_t zstd_frame[4] = {0x28, 0xb5, 0x2f, 0xfd};

	while (waiting(source) < 4 && fill(source))
		;
	const uint8_t *in = source->input.at;
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
	source->input = (struct input){source->in + INPUT_LEAD, source->in + INPUT_LEAD, read_more};
	sha256_start(&source->blob_sha);
	sha256_start(&source->diff_sha);
	source->compression = detect(source);
	if (source->compression == ZSTD) {
		source->zstd = ZSTD_createDStream();
		if (!source->zstd)
			fail("memory", ENOMEM, "the zstd reader");
		/* The window that zstd's own programs accept; without it a frame could ask for gigabytes. */
		ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, 27);
	}
	return source;
}

static _Noreturn void fail_truncated(void) {
	fail("truncated", 0, "the layer's compressed stream ends too early");
}

static uint8_t next_byte(struct source *source) {
	if (waiting(source) == 0 && !fill(source))
		fail_truncated();
	return *source->input.at++;
}

/* RFC 1952, 2.3. */
static void open_member(struct source *source) {
	enum { FHCRC = 2, FEXTRA = 4, FNAME = 8, FCOMMENT = 16, RESERVED = 0xe0 };
	uint8_t head[10];

	for (size_t i = 0; i < sizeof head; i++)
		head[i] = next_byte(source);
	uint8_t flags = head[3];
	if (head[0] != 0x1f || head[1] != 0x8b || head[2] != 8 || flags & RESERVED)
		fail("gzip", 0, "the layer's gzip stream is damaged: a member starts with something else");
	if (flags & FEXTRA) {
		unsigned length = next_byte(source);
		length |= (unsigned)next_byte(source) << 8;
		while (length--)
			next_byte(source);
	}
	for (int text = !!(flags & FNAME) + !!(flags & FCOMMENT); text > 0; text--)
		while (next_byte(source))
			;
	if (flags & FHCRC) {
		next_byte(source);
		next_byte(source);
	}
	inflate_start(&source->inflate);
	source->member_open = true;
	source->member_bytes = 0;
	source->base = source->out_end;
}

/* The checksum is left unread: the digests of blob and layer are compared by the server, and say more. */
static void close_member(struct source *source) {
	uint32_t length = 0;

	for (int i = 0; i < 4; i++)
		next_byte(source);
	for (int i = 0; i < 4; i++)
		length |= (uint32_t)next_byte(source) << (8 * i);
	if (length != source->member_bytes)
		fail("gzip", 0, "the layer's gzip stream is damaged: a member has another length");
	source->member_open = false;
}

/* A gzip file may have several members (RFC 1952, 2.2); estargz and pigz write such. */
static bool produce_gzip(struct source *source) {
	size_t history = source->out_end - source->base;

	history = history < WINDOW_BYTES ? history : WINDOW_BYTES;
	memmove(source->out, source->out + source->out_end - history, history);
	source->base = 0;
	source->out_at = source->out_end = history;
	uint8_t *out = source->out + history;
	const uint8_t *limit = out + OUT_BYTES;
	while (out < limit) {
		if (!source->member_open) {
			if (waiting(source) == 0 && !fill(source))
				break;
			source->out_end = (size_t)(out - source->out);
			open_member(source);
		}
		uint8_t *before = out;
		enum inflate_result result = inflate_run(&source->inflate, &source->input, source->out + source->base, &out, limit);
		source->member_bytes += (uint32_t)(out - before);
		if (result == INFLATE_TRUNCATED)
			fail_truncated();
		if (result == INFLATE_DAMAGED)
			fail("gzip", 0, "the layer's gzip stream is damaged");
		if (result == INFLATE_END)
			close_member(source);
	}
	source->out_end = (size_t)(out - source->out);
	return source->out_end > source->out_at;
}

static bool produce_plain(struct source *source) {
	if (waiting(source) == 0 && !fill(source))
		return false;
	size_t there = waiting(source);
	source->out_at = 0;
	source->out_end = there < OUT_BYTES ? there : OUT_BYTES;
	memcpy(source->out, source->input.at, source->out_end);
	source->input.at += source->out_end;
	return true;
}

static bool produce_zstd(struct source *source) {
	for (;;) {
		bool more = waiting(source) > 0 || fill(source);
		if (!more && !source->member_open)
			return false;
		ZSTD_inBuffer in = {source->input.at, waiting(source), 0};
		ZSTD_outBuffer out = {source->out, OUT_BYTES, 0};
		size_t result = ZSTD_decompressStream(source->zstd, &out, &in);
		if (ZSTD_isError(result))
			fail("zstd", 0, "the layer's zstd stream is damaged: %s", ZSTD_getErrorName(result));
		source->member_open = result != 0;
		source->input.at += in.pos;
		if (out.pos > 0) {
			source->out_at = 0;
			source->out_end = out.pos;
			return true;
		}
		if (!more && source->member_open)
			fail_truncated();
	}
}

/* False at the end of the stream. */
static bool refill(struct source *source) {
	bool more = source->compression == GZIP   ? produce_gzip(source)
		    : source->compression == ZSTD ? produce_zstd(source)
						  : produce_plain(source);
	if (!more)
		return false;
	size_t n = source->out_end - source->out_at;
	source->produced += n;
	if (source->produced > source->request->max_bytes)
		fail("limit", 0, "the layer has more than %llu bytes uncompressed", (unsigned long long)source->request->max_bytes);
	sha256_add(&source->diff_sha, source->out + source->out_at, n);
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

void source_finish(struct source *source, char blob[DIGEST_HEX], char diff[DIGEST_HEX]) {
	const uint8_t *ignored;

	while (source_next(source, &ignored, OUT_BYTES) > 0)
		;
	sha256_finish(&source->blob_sha, blob);
	sha256_finish(&source->diff_sha, diff);
}
