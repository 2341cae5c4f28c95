/*
 * The uncompressed stream, made by one thread and hashed and used by the other: decompressing is more than half of the work.
 * Blocks go round between the two.
 */
#include "digest.h"
#include "unpack.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Large enough that handing over does not count, small enough that a block is still in the cache when it is hashed. */
enum { BLOCK_BYTES = 128 * 1024, BLOCKS = 4, STACK_BYTES = 512 * 1024 };

struct block {
	size_t length;
	uint64_t read;            /* of the blob, when this was made */
	uint8_t data[BLOCK_BYTES];
};

struct source {
	struct request *request;
	struct blob *blob;
	/* Between the threads, under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool there, started;      /* the thread is, and may begin */
	bool ended;               /* no block comes after `made` */
	uint64_t made, used;      /* blocks so far */
	struct block blocks[BLOCKS];
	/* The user's own. */
	SHA256_CTX sha;
	struct block *block;      /* in use, NULL before the first and at the end */
	size_t at;                /* bytes of it given out */
	uint64_t produced;        /* bytes of all blocks before its end */
};

/* Until the user has no more blocks and waits: what is wrong earlier in the stream comes first. */
static void wait_until_used(void *of) {
	struct source *source = of;

	pthread_mutex_lock(&source->lock);
	while (source->used < source->made)
		pthread_cond_wait(&source->changed, &source->lock);
	pthread_mutex_unlock(&source->lock);
}

static void *make_blocks(void *of) {
	struct source *source = of;
	struct block *block;

	fail_after(wait_until_used, source);
	pthread_mutex_lock(&source->lock);
	source->there = true;
	pthread_cond_broadcast(&source->changed);
	while (!source->started)
		pthread_cond_wait(&source->changed, &source->lock);
	do {
		while (source->made - source->used == BLOCKS)
			pthread_cond_wait(&source->changed, &source->lock);
		block = &source->blocks[source->made % BLOCKS];
		pthread_mutex_unlock(&source->lock);
		block->length = blob_read(source->blob, block->data, BLOCK_BYTES);
		block->read = blob_offset(source->blob);
		pthread_mutex_lock(&source->lock);
		if (block->length > 0)
			source->made++;
		else
			source->ended = true;
		pthread_cond_broadcast(&source->changed);
	} while (!source->ended);
	pthread_mutex_unlock(&source->lock);
	return NULL;
}

struct source *source_open(struct request *request) {
	struct source *source = must_alloc(sizeof *source);
	pthread_attr_t attributes;
	pthread_t thread;

	source->request = request;
	source->blob = blob_open(request);
	SHA256_Init(&source->sha);
	pthread_mutex_init(&source->lock, NULL);
	pthread_cond_init(&source->changed, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	int error = pthread_create(&thread, &attributes, make_blocks, source);
	if (error)
		fail("fork", error, "the thread that decompresses");
	pthread_mutex_lock(&source->lock);
	while (!source->there)
		pthread_cond_wait(&source->changed, &source->lock);
	pthread_mutex_unlock(&source->lock);
	return source;
}

void source_start(struct source *source) {
	pthread_mutex_lock(&source->lock);
	source->started = true;
	pthread_cond_broadcast(&source->changed);
	pthread_mutex_unlock(&source->lock);
}

/* Gives the block in use back and takes the next one. False at the end of the stream. */
static bool refill(struct source *source) {
	pthread_mutex_lock(&source->lock);
	if (source->block) {
		source->used++;
		pthread_cond_broadcast(&source->changed);
	}
	while (source->made == source->used && !source->ended)
		pthread_cond_wait(&source->changed, &source->lock);
	source->block = source->made > source->used ? &source->blocks[source->used % BLOCKS] : NULL;
	pthread_mutex_unlock(&source->lock);
	source->at = 0;
	if (!source->block)
		return false;
	source->produced += source->block->length;
	if (source->produced > source->request->max_bytes)
		fail("limit", 0, "the layer has more than %llu bytes uncompressed", (unsigned long long)source->request->max_bytes);
	SHA256_Update(&source->sha, source->block->data, source->block->length);
	blob_hash(source->blob, source->block->read);
	return true;
}

static size_t left(const struct source *source) {
	return source->block ? source->block->length - source->at : 0;
}

size_t source_next(struct source *source, const uint8_t **data, size_t max) {
	if (left(source) == 0 && !refill(source))
		return 0;
	size_t n = left(source) < max ? left(source) : max;
	*data = source->block->data + source->at;
	source->at += n;
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
		size_t n = source_next(source, &from, length < BLOCK_BYTES ? (size_t)length : BLOCK_BYTES);
		if (n == 0)
			fail("truncated", 0, "the layer's archive ends in the middle of an entry");
		length -= n;
	}
}

uint64_t source_offset(const struct source *source) {
	return source->produced - left(source);
}

void digest_hex(SHA256_CTX *sha, char hex[DIGEST_HEX]) {
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256_Final(digest, sha);
	for (size_t i = 0; i < sizeof digest; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void source_finish(struct source *source, char blob[DIGEST_HEX], char diff[DIGEST_HEX]) {
	const uint8_t *ignored;

	while (source_next(source, &ignored, BLOCK_BYTES) > 0)
		;
	blob_hash(source->blob, blob_offset(source->blob));
	blob_digest(source->blob, blob);
	digest_hex(&source->sha, diff);
}
