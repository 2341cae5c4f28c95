/*
 * The blob as it arrives, decompressed by ISA-L and zstd. What reads it hashes it too, but for gzip, where decompressing alone
 * takes longer than all that the other thread has to do: there that one reads the file once more, from the kernel's memory.
 */
#include "digest.h"
#include "unpack.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

/* Large enough that calls do not count. */
enum { IN_BYTES = 128 * 1024 };

enum compression { UNKNOWN, PLAIN, GZIP, ZSTD };

struct blob {
	struct request *request;
	enum compression compression;
	struct inflate_state gzip;
	ZSTD_DStream *zstd;
	bool member_open;         /* inside a gzip member or a zstd frame */
	uint64_t offset;          /* bytes read from the blob */
	SHA256_CTX sha;
	uint64_t hashed;          /* bytes of the blob in `sha` */
	size_t in_at, in_end;     /* what is read and not yet decompressed */
	uint8_t in[IN_BYTES];
};

static size_t waiting(const struct blob *blob) {
	return blob->in_end - blob->in_at;
}

/* Reads more of the blob behind what is left of the input. False at the blob's end. */
static bool fill(struct blob *blob) {
	struct request *request = blob->request;
	size_t left = waiting(blob);

	memmove(blob->in, blob->in + blob->in_at, left);
	blob->in_at = 0;
	blob->in_end = left;
	request_poll(request);
	request_wait(request, blob->offset);
	uint64_t there = request->have - blob->offset;
	size_t room = IN_BYTES - left;
	if (there == 0)
		return false;
	ssize_t n = pread(request->blob, blob->in + left, there < room ? (size_t)there : room, (off_t)blob->offset);
	if (n < 0)
		fail("read", errno, "the blob");
	if (n == 0)
		fail("read", 0, "the blob's file is shorter than the server said");
	if (blob->compression != GZIP) {
		SHA256_Update(&blob->sha, blob->in + left, (size_t)n);
		blob->hashed += (uint64_t)n;
	}
	blob->in_end += (size_t)n;
	blob->offset += (uint64_t)n;
	return true;
}

static enum compression detect(struct blob *blob) {
	static const uint8_t zstd_frame[4] = {0x28, 0xb5, 0x2f, 0xfd};

	while (waiting(blob) < 4 && fill(blob))
		;
	const uint8_t *in = blob->in + blob->in_at;
	if (waiting(blob) >= 2 && in[0] == 0x1f && in[1] == 0x8b)
		return GZIP;
	if (waiting(blob) < 4)
		return PLAIN;
	/* A skippable frame (RFC 8878, 3.1.2) may come first. */
	bool skippable = (in[0] & 0xf0) == 0x50 && memcmp(in + 1, "\x2a\x4d\x18", 3) == 0;
	return memcmp(in, zstd_frame, 4) == 0 || skippable ? ZSTD : PLAIN;
}

struct blob *blob_open(struct request *request) {
	struct blob *blob = must_alloc(sizeof *blob);

	blob->request = request;
	SHA256_Init(&blob->sha);
	return blob;
}

static void begin(struct blob *blob) {
	blob->compression = detect(blob);
	if (blob->compression == GZIP) {
		isal_inflate_init(&blob->gzip);
		blob->gzip.crc_flag = ISAL_GZIP;
	}
	if (blob->compression == ZSTD) {
		blob->zstd = ZSTD_createDStream();
		if (!blob->zstd)
			fail("memory", ENOMEM, "the zstd reader");
		/* The window that zstd's own programs accept; without it a frame could ask for gigabytes. */
		ZSTD_DCtx_setParameter(blob->zstd, ZSTD_d_windowLogMax, 27);
	}
}

static size_t step_plain(struct blob *blob, uint8_t *out, size_t room) {
	size_t n = waiting(blob) < room ? waiting(blob) : room;

	memcpy(out, blob->in + blob->in_at, n);
	blob->in_at += n;
	return n;
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
static void open_member(struct blob *blob) {
	while (waiting(blob) < 4 && fill(blob))
		;
	/* A bit that has no meaning must not be passed over (2.3.1.2), which ISA-L does. */
	if (waiting(blob) >= 4 && blob->in[blob->in_at + 3] & 0xe0)
		fail("gzip", 0, "the layer's gzip stream is damaged: a member's header has unknown flags");
	isal_inflate_reset(&blob->gzip);
}

static size_t step_gzip(struct blob *blob, uint8_t *out, size_t room) {
	struct inflate_state *gzip = &blob->gzip;

	if (!blob->member_open)
		open_member(blob);
	gzip->next_in = blob->in + blob->in_at;
	gzip->avail_in = (uint32_t)waiting(blob);
	gzip->next_out = out;
	gzip->avail_out = (uint32_t)room;
	int result = isal_inflate(gzip);
	if (result != ISAL_DECOMP_OK)
		fail("gzip", 0, "the layer's gzip stream is damaged: %s", gzip_error(result));
	blob->member_open = gzip->block_state != ISAL_BLOCK_FINISH;
	blob->in_at = blob->in_end - gzip->avail_in;
	return room - gzip->avail_out;
}

static size_t step_zstd(struct blob *blob, uint8_t *data, size_t room) {
	ZSTD_inBuffer in = {blob->in + blob->in_at, waiting(blob), 0};
	ZSTD_outBuffer out = {data, room, 0};
	size_t result = ZSTD_decompressStream(blob->zstd, &out, &in);

	if (ZSTD_isError(result))
		fail("zstd", 0, "the layer's zstd stream is damaged: %s", ZSTD_getErrorName(result));
	blob->member_open = result != 0;
	blob->in_at += in.pos;
	return out.pos;
}

static size_t step(struct blob *blob, uint8_t *out, size_t room) {
	if (blob->compression == GZIP)
		return step_gzip(blob, out, room);
	if (blob->compression == ZSTD)
		return step_zstd(blob, out, room);
	return step_plain(blob, out, room);
}

size_t blob_read(struct blob *blob, uint8_t *out, size_t room) {
	if (blob->compression == UNKNOWN)
		begin(blob);
	for (;;) {
		bool more = waiting(blob) > 0 || fill(blob);
		if (!more && !blob->member_open)
			return 0;
		size_t n = step(blob, out, room);
		if (n > 0)
			return n;
		if (!more && blob->member_open)
			fail("truncated", 0, "the layer's compressed stream ends too early");
	}
}

void blob_digest(struct blob *blob, char hex[DIGEST_HEX]) {
	digest_hex(&blob->sha, hex);
}

uint64_t blob_offset(const struct blob *blob) {
	return blob->offset;
}

void blob_hash(struct blob *blob, uint64_t to) {
	uint8_t piece[32 * 1024];

	/* Anything else is hashed by the thread that reads it. */
	while (blob->compression == GZIP && blob->hashed < to) {
		uint64_t left = to - blob->hashed;
		ssize_t n = pread(blob->request->blob, piece, left < sizeof piece ? (size_t)left : sizeof piece, (off_t)blob->hashed);
		if (n <= 0)
			fail("read", n < 0 ? errno : 0, "the blob");
		SHA256_Update(&blob->sha, piece, (size_t)n);
		blob->hashed += (uint64_t)n;
	}
}
