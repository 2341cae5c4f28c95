/* Reads a message that somebody else made, in place: nothing is copied. Integers are little-endian; a text is a u32 length,
 * that many bytes, and a NUL. Every step is checked; after the first bad one, `bad` is set, `at` stays there, and all further
 * reads give zero or nothing. */
#ifndef BERTH_READER_H
#define BERTH_READER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

/* NULL when there is less. */
const uint8_t *take(struct reader *r, size_t length);
uint8_t take_u8(struct reader *r, uint8_t most);
uint32_t take_u32(struct reader *r);
uint64_t take_u64(struct reader *r);
/* u32 length and bytes; no NUL follows them. */
const uint8_t *take_bytes(struct reader *r, uint32_t *length);
/* Never NULL, so that callers need no checks: "" when it is bad. */
const char *take_text(struct reader *r);
/* One that is at most so long. */
const char *take_short(struct reader *r, size_t most);
/* One that a system call can take. */
const char *take_path(struct reader *r);

/* `items` starts at the first of `count` items; walk a copy of it. */
struct list {
	uint32_t count;
	struct reader items;
};

/* u32 count and items. Walks over them, so that the list is known to be well formed and the next field is found. */
struct list take_list(struct reader *r, uint32_t most, void (*skip)(struct reader *r));
void skip_text(struct reader *r);
void skip_path(struct reader *r);
/* A list of texts as execve(2) wants it, in pages that stay until then. NULL: no memory. */
char **texts_vector(const struct list *list);

#endif
