/* Extended headers: POSIX.1-2001 pax, "%d %s=%s\n" records; and what GNU tar and libarchive keep in them. */
#include "unpack.h"

#include <stdlib.h>
#include <string.h>

#define XATTR_KEY "SCHILY.xattr."
#define SPARSE_KEY "GNU.sparse."

enum { MAX_XATTRS = 256, MAX_EXTENTS = 1 << 20 };

uint64_t parse_decimal(const char *text, size_t length, const char *what) {
	uint64_t value = 0;

	if (length == 0)
		fail("archive", 0, "%s is empty", what);
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			fail("archive", 0, "%s is not a number: %.*s", what, (int)(length < 64 ? length : 64), text);
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (unsigned)(text[i] - '0'), &value))
			fail("archive", 0, "%s is too large: %.*s", what, (int)(length < 64 ? length : 64), text);
	}
	return value;
}

static uint32_t parse_id(const char *text, size_t length, const char *what) {
	uint64_t value = parse_decimal(text, length, what);

	/* The last one means "unchanged" to chown(2). */
	if (value >= UINT32_MAX)
		fail("archive", 0, "%s is too large: %.*s", what, (int)(length < 64 ? length : 64), text);
	return (uint32_t)value;
}

static struct timespec parse_time(const char *text, size_t length) {
	bool negative = length > 0 && text[0] == '-';
	const char *point = memchr(text, '.', length);
	size_t whole = point ? (size_t)(point - text) : length;
	struct timespec time = {0, 0};
	long scale = 100000000;

	uint64_t seconds = parse_decimal(text + negative, whole - negative, "a time");
	if (seconds > INT64_MAX)
		fail("archive", 0, "a time is too large");
	for (size_t i = whole + 1; i < length && scale > 0; i++, scale /= 10) {
		if (text[i] < '0' || text[i] > '9')
			fail("archive", 0, "a time is not a number: %.*s", (int)(length < 64 ? length : 64), text);
		time.tv_nsec += (text[i] - '0') * scale;
	}
	time.tv_sec = (time_t)seconds;
	if (negative) {
		time.tv_sec = -time.tv_sec;
		if (time.tv_nsec > 0) {
			time.tv_sec--;
			time.tv_nsec = 1000000000 - time.tv_nsec;
		}
	}
	return time;
}

static char *copy_text(const char *text, size_t length, const char *what) {
	char *copy = must_alloc(length + 1);

	if (memchr(text, 0, length))
		fail("archive", 0, "%s has a NUL in it", what);
	memcpy(copy, text, length);
	return copy;
}

static void set_text(char **field, const char *text, size_t length, const char *what) {
	free(*field);
	*field = copy_text(text, length, what);
}

static void add_xattr(struct pax *pax, const char *name, const char *value, size_t length) {
	if (pax->xattr_count == MAX_XATTRS)
		fail("limit", 0, "an entry has more than %d extended attributes", MAX_XATTRS);
	if (!pax->xattrs)
		pax->xattrs = must_alloc(MAX_XATTRS * sizeof *pax->xattrs);
	struct xattr *xattr = &pax->xattrs[pax->xattr_count++];
	xattr->name = copy_text(name, strlen(name), "the name of an extended attribute");
	xattr->value = must_alloc(length);
	xattr->length = length;
	memcpy(xattr->value, value, length);
}

void extent_append(struct extent **list, size_t *count, uint64_t offset, uint64_t length) {
	const struct extent *last = *count ? &(*list)[*count - 1] : NULL;
	uint64_t end;

	if (*count == MAX_EXTENTS)
		fail("limit", 0, "a sparse file has more than %d pieces", MAX_EXTENTS);
	if (__builtin_add_overflow(offset, length, &end) || end > INT64_MAX || (last && offset < last->offset + last->length))
		fail("archive", 0, "the pieces of a sparse file overlap or are too large");
	/* Grows by doubling: the count is a power of two exactly when the list is full. */
	if ((*count & (*count - 1)) == 0) {
		struct extent *larger = reallocarray(*list, *count ? 2 * *count : 1, sizeof **list);
		if (!larger)
			fail("memory", 0, "the pieces of a sparse file");
		*list = larger;
	}
	(*list)[(*count)++] = (struct extent){offset, length};
}

/* Format 0.0 repeats two keys for each piece; 0.1 has all in one value; 1.0 keeps the map in the data. */
static void sparse_record(struct pax *pax, const char *key, char *value, size_t length) {
	if (strcmp(key, "major") == 0) {
		pax->sparse = true;
		pax->sparse_map_in_data = length == 1 && value[0] == '1';
	} else if (strcmp(key, "name") == 0) {
		set_text(&pax->path, value, length, "a name");
	} else if (strcmp(key, "size") == 0 || strcmp(key, "realsize") == 0) {
		pax->sparse = true;
		pax->sparse_size = parse_decimal(value, length, "the size of a sparse file");
	} else if (strcmp(key, "offset") == 0) {
		extent_append(&pax->extents, &pax->extent_count, parse_decimal(value, length, "an offset"), 0);
		pax->half_extent = true;
	} else if (strcmp(key, "numbytes") == 0) {
		if (!pax->half_extent)
			fail("archive", 0, "a sparse file has a length without an offset");
		pax->half_extent = false;
		struct extent last = pax->extents[--pax->extent_count];
		extent_append(&pax->extents, &pax->extent_count, last.offset, parse_decimal(value, length, "a length"));
	} else if (strcmp(key, "map") == 0) {
		uint64_t offset = 0;
		bool second = false;
		for (char *save, *part = strtok_r(value, ",", &save); part; part = strtok_r(NULL, ",", &save), second = !second) {
			uint64_t n = parse_decimal(part, strlen(part), "a piece of a sparse file");
			if (second)
				extent_append(&pax->extents, &pax->extent_count, offset, n);
			else
				offset = n;
		}
	}
}

static void record(struct pax *pax, const char *key, char *value, size_t length) {
	if (strcmp(key, "path") == 0) {
		/* GNU tar puts a made-up name here when GNU.sparse.name has the real one, which comes first. */
		if (!pax->sparse || !pax->path)
			set_text(&pax->path, value, length, "a name");
	} else if (strcmp(key, "linkpath") == 0) {
		set_text(&pax->link, value, length, "a link");
	} else if (strcmp(key, "size") == 0) {
		pax->has_size = true;
		pax->size = parse_decimal(value, length, "a size");
	} else if (strcmp(key, "uid") == 0) {
		pax->has_uid = true;
		pax->uid = parse_id(value, length, "a user id");
	} else if (strcmp(key, "gid") == 0) {
		pax->has_gid = true;
		pax->gid = parse_id(value, length, "a group id");
	} else if (strcmp(key, "mtime") == 0) {
		pax->has_mtime = true;
		pax->mtime = parse_time(value, length);
	} else if (strncmp(key, XATTR_KEY, strlen(XATTR_KEY)) == 0) {
		add_xattr(pax, key + strlen(XATTR_KEY), value, length);
	} else if (strncmp(key, SPARSE_KEY, strlen(SPARSE_KEY)) == 0) {
		sparse_record(pax, key + strlen(SPARSE_KEY), value, length);
	}
}

void pax_parse(struct pax *pax, char *data, size_t length) {
	while (length > 0) {
		char *space = memchr(data, ' ', length < 20 ? length : 20);
		if (!space)
			fail("archive", 0, "an extended header has a record without a length");
		uint64_t whole = parse_decimal(data, (size_t)(space - data), "the length of a record");
		size_t head = (size_t)(space - data) + 1;
		if (whole > length || whole < head + 2 || data[whole - 1] != '\n')
			fail("archive", 0, "an extended header has a record of a wrong length");
		char *key = data + head, *equals = memchr(key, '=', whole - head);
		if (!equals || equals == key || memchr(key, 0, (size_t)(equals - key)))
			fail("archive", 0, "an extended header has a record without a key");
		*equals = 0;
		data[whole - 1] = 0;
		record(pax, key, equals + 1, (size_t)(data + whole - 1 - (equals + 1)));
		data += whole;
		length -= whole;
	}
}

void pax_clear(struct pax *pax) {
	for (size_t i = 0; i < pax->xattr_count; i++) {
		free(pax->xattrs[i].name);
		free(pax->xattrs[i].value);
	}
	free(pax->xattrs);
	free(pax->extents);
	free(pax->path);
	free(pax->link);
	memset(pax, 0, sizeof *pax);
}
