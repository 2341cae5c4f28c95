#include "common/reader.h"
#include <limits.h>
#include <string.h>
#include "common/buffer.h"

const uint8_t *take(struct reader *r, size_t length)
{
	if (r->bad || length > r->left) {
		r->bad = true;
		r->left = 0;
		return NULL;
	}
	const uint8_t *here = r->at;
	r->at += length;
	r->left -= length;
	return here;
}

static uint64_t number(struct reader *r, size_t width)
{
	const uint8_t *here = take(r, width);
	uint64_t value = 0;
	for (size_t i = 0; here && i < width; i++)
		value |= (uint64_t)here[i] << (8 * i);
	return value;
}

uint8_t take_u8(struct reader *r, uint8_t most)
{
	uint8_t value = (uint8_t)number(r, 1);
	r->bad |= value > most;
	return value;
}

uint32_t take_u32(struct reader *r)
{
	return (uint32_t)number(r, 4);
}

uint64_t take_u64(struct reader *r)
{
	return number(r, 8);
}

const uint8_t *take_bytes(struct reader *r, uint32_t *length)
{
	*length = take_u32(r);
	const uint8_t *here = take(r, *length);
	if (!here)
		*length = 0;
	return here;
}

const char *take_short(struct reader *r, size_t most)
{
	uint32_t length = take_u32(r);
	const char *here = (const char *)take(r, (size_t)length + 1);
	if (!here || length > most || here[length] != 0 || memchr(here, 0, length)) {
		r->bad = true;
		return "";
	}
	return here;
}

const char *take_text(struct reader *r)
{
	return take_short(r, SIZE_MAX);
}

const char *take_path(struct reader *r)
{
	const char *path = take_short(r, PATH_MAX - 1);
	r->bad |= path[0] != '/';
	return path;
}

struct list take_list(struct reader *r, uint32_t most, void (*skip)(struct reader *r))
{
	struct list list = {.count = take_u32(r)};
	r->bad |= list.count > most;
	list.items = *r;
	for (uint32_t i = 0; i < list.count && !r->bad; i++)
		skip(r);
	if (r->bad)
		list.count = 0;
	list.items.left = (size_t)(r->at - list.items.at);
	return list;
}

void skip_text(struct reader *r)
{
	take_text(r);
}

void skip_path(struct reader *r)
{
	take_path(r);
}

char **texts_vector(const struct list *list)
{
	struct reader items = list->items;
	char **to = pages_get(((size_t)list->count + 1) * sizeof *to);
	for (uint32_t i = 0; to && i < list->count; i++)
		to[i] = (char *)take_text(&items);
	return to;
}
