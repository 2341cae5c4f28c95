/* A growing run of bytes in pages of its own: what is freed goes back to the kernel at once, so an idle process stays small. */
#ifndef BERTH_BUFFER_H
#define BERTH_BUFFER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t *at;
	size_t size, start, end;
};

static inline size_t buffer_length(const struct buffer *b)
{
	return b->end - b->start;
}
static inline uint8_t *buffer_data(const struct buffer *b)
{
	return b->at + b->start;
}

/* False: no memory. Then nothing has changed. */
bool buffer_reserve(struct buffer *b, size_t more);
bool buffer_add(struct buffer *b, const void *data, size_t length);
/* Drops bytes from the front. */
void buffer_drop(struct buffer *b, size_t length);
void buffer_free(struct buffer *b);

/* Pages, zeroed; NULL when there are none. */
void *pages_get(size_t size);
void pages_put(void *at, size_t size);

#endif
