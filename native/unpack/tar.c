/* The archive: POSIX ustar, pax, and GNU tar's and old variants, as the Go reader that most images are made for takes them. */
#include "unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { BLOCK = 512, MAX_HEADER_DATA = 1 << 20, MAX_SPARSE_MAP = 16 << 20 };

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
	char magic[8], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
/* GNU's old sparse header uses the room of the prefix. */
struct gnu_piece {
	char offset[12], length[12];
};
struct gnu_rest {
	char atime[12], ctime[12], offset[12], longnames[4], unused;
	struct gnu_piece pieces[4];
	char extended, realsize[12], padding[17];
};
struct gnu_more {
	struct gnu_piece pieces[21];
	char extended, padding[7];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");
_Static_assert(sizeof(struct gnu_rest) == 155 + 12, "GNU's fields take the prefix and the rest");
_Static_assert(sizeof(struct gnu_more) == BLOCK, "more pieces are one block");

struct tar {
	struct source *source;
	struct entry entry;
	struct pax pax;
	char *long_name, *long_link;
	uint64_t padding;         /* zeros behind the last entry's data */
	uint64_t data_end;        /* offset of the end of the last entry's data */
};

struct tar *tar_open(struct source *source) {
	struct tar *tar = must_alloc(sizeof *tar);
	tar->source = source;
	return tar;
}

/* Octal text, or base 256 when the highest bit is set (GNU and star). */
static uint64_t numeric(const char *field, size_t length, const char *what) {
	const uint8_t *byte = (const uint8_t *)field;
	uint64_t value = 0;
	size_t i = 0;

	if (byte[0] & 0x80) {
		if (byte[0] & 0x40)
			fail("archive", 0, "%s is negative", what);
		value = byte[0] & 0x3f;
		for (i = 1; i < length; i++) {
			if (value >> 55)
				fail("archive", 0, "%s is too large", what);
			value = value << 8 | byte[i];
		}
		return value;
	}
	while (i < length && field[i] == ' ')
		i++;
	for (; i < length && field[i] != ' ' && field[i] != 0; i++) {
		if (field[i] < '0' || field[i] > '7')
			fail("archive", 0, "%s is not an octal number", what);
		if (value >> 60)
			fail("archive", 0, "%s is too large", what);
		value = value << 3 | (uint64_t)(field[i] - '0');
	}
	return value;
}

/* A date before 1970 is the one number that may be negative. */
static int64_t numeric_time(const char *field, size_t length) {
	if (((uint8_t)field[0] & 0xc0) != 0xc0)
		return (int64_t)numeric(field, length, "a time");
	int64_t value = -1;
	for (size_t i = 1; i < length; i++)
		value = (int64_t)((uint64_t)value << 8 | (uint8_t)field[i]);
	return value;
}

static uint32_t numeric_id(const char *field, size_t length, const char *what) {
	uint64_t value = numeric(field, length, what);
	if (value >= UINT32_MAX)
		fail("archive", 0, "%s is too large: %llu", what, (unsigned long long)value);
	return (uint32_t)value;
}

static void check_sum(const struct header *header) {
	const uint8_t *byte = (const uint8_t *)header;
	uint64_t wanted = numeric(header->checksum, sizeof header->checksum, "a checksum"), sum = 0;
	int64_t signed_sum = 0;

	for (size_t i = 0; i < BLOCK; i++) {
		bool own = i >= offsetof(struct header, checksum) && i < offsetof(struct header, type);
		sum += own ? ' ' : byte[i];
		signed_sum += own ? ' ' : (int8_t)byte[i];
	}
	/* Some old programs summed signed bytes. */
	if (wanted != sum && (int64_t)wanted != signed_sum)
		fail("archive", 0, "a header has a wrong checksum: the layer is no tar archive, or damaged");
}

void tar_clean_path(const char *raw, char out[PATH_BYTES]) {
	size_t length = 0;

	while (*raw) {
		size_t part = strcspn(raw, "/");
		if (part == 2 && raw[0] == '.' && raw[1] == '.')
			fail("unsafe", 0, "an entry's name has `..` in it: %.200s", raw);
		if (part > 255)
			fail("archive", 0, "a part of an entry's name has more than 255 bytes: %.200s", raw);
		if (part > 0 && !(part == 1 && raw[0] == '.')) {
			if (length + part + 2 > PATH_BYTES)
				fail("archive", 0, "an entry's name has more than %d bytes", PATH_BYTES - 1);
			if (length > 0)
				out[length++] = '/';
			memcpy(out + length, raw, part);
			length += part;
		}
		raw += part;
		raw += *raw == '/';
	}
	out[length] = 0;
}

static char *read_text(struct tar *tar, uint64_t size) {
	if (size > MAX_HEADER_DATA)
		fail("limit", 0, "an extended header has more than %d bytes", MAX_HEADER_DATA);
	char *text = must_alloc(size + 1);
	source_read(tar->source, text, size);
	source_skip(tar->source, -size & (BLOCK - 1));
	return text;
}

static void gnu_pieces(struct entry *entry, const struct gnu_piece *pieces, size_t count) {
	for (size_t i = 0; i < count && pieces[i].length[0]; i++)
		extent_append(&entry->extents, &entry->extent_count, numeric(pieces[i].offset, 12, "an offset"),
			      numeric(pieces[i].length, 12, "a length"));
}

static void gnu_sparse(struct tar *tar, const struct header *header) {
	struct gnu_rest rest;
	struct gnu_more more;

	memcpy(&rest, header->prefix, sizeof rest);
	tar->entry.size = numeric(rest.realsize, sizeof rest.realsize, "the size of a sparse file");
	gnu_pieces(&tar->entry, rest.pieces, 4);
	for (bool go_on = rest.extended; go_on; go_on = more.extended) {
		source_read(tar->source, &more, sizeof more);
		gnu_pieces(&tar->entry, more.pieces, 21);
	}
	/* A file of nothing but a hole has no piece at all. */
	if (tar->entry.extent_count == 0)
		extent_append(&tar->entry.extents, &tar->entry.extent_count, 0, 0);
}

static uint64_t map_number(struct tar *tar, uint64_t *used) {
	char text[24];
	size_t length = 0;

	for (;; length++) {
		if (length == sizeof text || *used > MAX_SPARSE_MAP)
			fail("archive", 0, "the map of a sparse file is damaged");
		source_read(tar->source, &text[length], 1);
		++*used;
		if (text[length] == '\n')
			return parse_decimal(text, length, "a piece of a sparse file");
	}
}

/* Format 1.0: the data starts with the map, in lines, up to a full block. */
static void pax_sparse_map(struct tar *tar) {
	struct entry *entry = &tar->entry;
	uint64_t used = 0, count = map_number(tar, &used);

	for (uint64_t i = 0; i < count; i++) {
		uint64_t offset = map_number(tar, &used);
		extent_append(&entry->extents, &entry->extent_count, offset, map_number(tar, &used));
	}
	uint64_t pad = -used & (BLOCK - 1);
	source_skip(tar->source, pad);
	if (used + pad > entry->stored)
		fail("archive", 0, "the map of a sparse file is longer than its data");
	entry->stored -= used + pad;
}

static void check_sparse(const struct entry *entry) {
	uint64_t stored = 0;

	for (size_t i = 0; i < entry->extent_count; i++) {
		stored += entry->extents[i].length;
		if (entry->extents[i].offset + entry->extents[i].length > entry->size)
			fail("archive", 0, "a sparse file has data behind its end: %s", entry->path);
	}
	if (stored != entry->stored)
		fail("archive", 0, "a sparse file has %llu bytes of data instead of %llu: %s",
		     (unsigned long long)entry->stored, (unsigned long long)stored, entry->path);
}

static enum entry_kind kind_of(char type, const char *path, bool trailing_slash) {
	switch (type) {
	case 0:
	case '0':
	case '7':
		/* Before POSIX a directory was a file whose name ends in a slash. */
		return trailing_slash ? ENTRY_DIR : ENTRY_FILE;
	case 'S':
		return ENTRY_FILE;
	case '1':
		return ENTRY_HARDLINK;
	case '2':
		return ENTRY_SYMLINK;
	case '3':
		return ENTRY_CHAR;
	case '4':
		return ENTRY_BLOCK;
	case '5':
		return ENTRY_DIR;
	case '6':
		return ENTRY_FIFO;
	default:
		fail("archive", 0, "an entry has the unknown type %#x: %s", (unsigned char)type, path);
	}
}

static void set_names(struct tar *tar, const struct header *header, bool *trailing_slash) {
	struct entry *entry = &tar->entry;
	char name[sizeof header->prefix + sizeof header->name + 2];
	bool posix = memcmp(header->magic, "ustar\0", 6) == 0;

	if (posix && header->prefix[0])
		snprintf(name, sizeof name, "%.155s/%.100s", header->prefix, header->name);
	else
		snprintf(name, sizeof name, "%.100s", header->name);
	const char *raw = tar->pax.path ? tar->pax.path : tar->long_name ? tar->long_name : name;
	size_t length = strlen(raw);
	*trailing_slash = length > 0 && raw[length - 1] == '/';
	tar_clean_path(raw, entry->path);

	const char *link = tar->pax.link ? tar->pax.link : tar->long_link;
	int n = link ? snprintf(entry->link, PATH_BYTES, "%s", link) : snprintf(entry->link, PATH_BYTES, "%.100s", header->link);
	if (n >= PATH_BYTES)
		fail("archive", 0, "the link of %s has more than %d bytes", entry->path, PATH_BYTES - 1);
}

static void describe(struct tar *tar, const struct header *header) {
	struct entry *entry = &tar->entry;
	const struct pax *pax = &tar->pax;
	bool trailing_slash;

	set_names(tar, header, &trailing_slash);
	entry->kind = kind_of(header->type, entry->path, trailing_slash);
	entry->mode = (mode_t)(numeric(header->mode, sizeof header->mode, "a mode") & 07777);
	entry->uid = pax->has_uid ? pax->uid : numeric_id(header->uid, sizeof header->uid, "a user id");
	entry->gid = pax->has_gid ? pax->gid : numeric_id(header->gid, sizeof header->gid, "a group id");
	entry->mtime = pax->has_mtime ? pax->mtime : (struct timespec){numeric_time(header->mtime, sizeof header->mtime), 0};
	entry->stored = pax->has_size ? pax->size : numeric(header->size, sizeof header->size, "a size");
	entry->xattrs = pax->xattrs;
	entry->xattr_count = pax->xattr_count;
	if (entry->kind == ENTRY_CHAR || entry->kind == ENTRY_BLOCK) {
		entry->major = numeric_id(header->major, sizeof header->major, "a device number");
		entry->minor = numeric_id(header->minor, sizeof header->minor, "a device number");
	}
	/* A link may state its target's size, and has no data all the same (POSIX, ustar typeflag 1 and 2). */
	if (entry->kind != ENTRY_FILE)
		entry->stored = 0;
	if (entry->stored > INT64_MAX - BLOCK)
		fail("archive", 0, "the size of %s is too large", entry->path);
	entry->size = entry->stored;
	/* Padding goes by what the header says, and a sparse file's map is part of that. */
	tar->padding = -entry->stored & (BLOCK - 1);
	if (header->type == 'S') {
		gnu_sparse(tar, header);
	} else if (pax->sparse && entry->kind == ENTRY_FILE) {
		entry->size = pax->sparse_size;
		for (size_t i = 0; i < pax->extent_count; i++)
			extent_append(&entry->extents, &entry->extent_count, pax->extents[i].offset, pax->extents[i].length);
		if (pax->sparse_map_in_data)
			pax_sparse_map(tar);
		if (entry->extent_count == 0)
			extent_append(&entry->extents, &entry->extent_count, 0, 0);
	}
	if (entry->size > INT64_MAX - BLOCK)
		fail("archive", 0, "the size of %s is too large", entry->path);
	if (entry->extents)
		check_sparse(entry);
}

static void clear(struct tar *tar) {
	pax_clear(&tar->pax);
	free(tar->long_name);
	free(tar->long_link);
	free(tar->entry.extents);
	tar->long_name = tar->long_link = NULL;
	tar->entry.extents = NULL;
	tar->entry.extent_count = 0;
}

/* Reads one block. False at the archive's end: one block of zeros, or the stream's end between two entries. */
static bool read_header(struct tar *tar, struct header *header) {
	static const struct header zeros;
	const uint8_t *first;

	size_t n = source_next(tar->source, &first, BLOCK);
	if (n == 0)
		return false;
	memcpy(header, first, n);
	if (n < BLOCK)
		source_read(tar->source, (uint8_t *)header + n, BLOCK - n);
	return memcmp(header, &zeros, BLOCK) != 0;
}

struct entry *tar_next(struct tar *tar) {
	struct header header;

	if (source_offset(tar->source) != tar->data_end)
		fail("archive", 0, "the data of %s was not read whole", tar->entry.path);
	source_skip(tar->source, tar->padding);
	tar->padding = 0;
	clear(tar);
	while (read_header(tar, &header)) {
		check_sum(&header);
		uint64_t size = numeric(header.size, sizeof header.size, "a size");
		if (header.type == 'x' || header.type == 'X') {
			char *records = read_text(tar, size);
			pax_parse(&tar->pax, records, size);
			free(records);
		} else if (header.type == 'g') {
			/* Global records (git archives keep a comment there) change nothing, as in the runtimes that came before. */
			free(read_text(tar, size));
		} else if (header.type == 'L') {
			free(tar->long_name);
			tar->long_name = read_text(tar, size);
		} else if (header.type == 'K') {
			free(tar->long_link);
			tar->long_link = read_text(tar, size);
		} else {
			describe(tar, &header);
			tar->data_end = source_offset(tar->source) + tar->entry.stored;
			return &tar->entry;
		}
	}
	return NULL;
}
