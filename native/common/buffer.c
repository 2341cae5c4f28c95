#include "common/buffer.h"
#include <string.h>
#include <sys/mman.h>

void *pages_get(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

void pages_put(void *at, size_t size)
{
	munmap(at, size);
}

bool buffer_reserve(struct buffer *b, size_t more)
{
	if (b->size - b->end >= more)
		return true;
	size_t length = buffer_length(b);
	if (b->start > 0 && b->size - length >= more) {
		memmove(b->at, b->at + b->start, length);
		b->start = 0;
		b->end = length;
		return true;
	}
	if (more > SIZE_MAX / 4 - b->end)
		return false;
	size_t size = b->size ? b->size : 4096;
	while (size - b->end < more)
		size *= 2;
	void *at = b->at ? mremap(b->at, b->size, size, MREMAP_MAYMOVE) : pages_get(size);
	if (at == NULL || at == MAP_FAILED)
		return false;
	b->at = at;
	b->size = size;
	return true;
}

bool buffer_add(struct buffer *b, const void *data, size_t length)
{
	if (length == 0)
		return true;
	if (!buffer_reserve(b, length))
		return false;
	memcpy(b->at + b->end, data, length);
	b->end += length;
	return true;
}

void buffer_drop(struct buffer *b, size_t length)
{
	b->start += length;
	if (b->start < b->end)
		return;
	b->start = b->end = 0;
	/* One page is kept for the next message. */
	if (b->size > 4096)
		buffer_free(b);
}

void buffer_free(struct buffer *b)
{
	if (b->at)
		pages_put(b->at, b->size);
	*b = (struct buffer){0};
}
