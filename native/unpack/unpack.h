/*
 * berth-unpack: turns one compressed image layer into a directory.
 *
 * The parent process listens, confines itself to two directories and forks one worker per layer. A worker reads one blob, with
 * one thread that decompresses and one that makes files, and ends; whatever goes wrong in it is reported once and ends it.
 * Nothing here trusts the layer.
 */
#ifndef BERTH_UNPACK_H
#define BERTH_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* SHA-256 in lower-case hexadecimal. */
#define DIGEST_HEX (2 * 32 + 1)
/* What the kernel takes as one path (PATH_MAX), its final NUL included. */
#define PATH_BYTES 4096

/* ---- report.c: the one way to end a worker ---- */

/* Where a worker's answers go. */
void report_to(int fd);
/* Sends `fail STAGE ERRNO MESSAGE` and ends the worker. `error` 0: the layer is at fault, not the system. */
_Noreturn void fail(const char *stage, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A failure of this thread waits for `wait(of)` first. */
void fail_after(void (*wait)(void *of), void *of);
void reply(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *must_alloc(size_t bytes);

/* ---- request.c: what the server asks for, and how much of the blob there is by now ---- */

struct request {
	int connection;
	int blob;                 /* read-only */
	int target;               /* the layer's directory; -1: only hash */
	uint64_t max_bytes;       /* of the uncompressed layer */
	uint64_t max_entries;
	uint64_t have;            /* so many bytes of the blob are on disk */
	bool ended;               /* `have` is the blob's whole size */
	char line[2 * PATH_BYTES];
	size_t line_held;
};

/* Reads the request up to its line `go`. Paths are relative to `root`, which no `..` or link leaves. */
void request_read(struct request *request, int connection, int root);
/* Waits until more than `offset` bytes are there or the blob has ended. Ends the worker when the server hangs up. */
void request_wait(struct request *request, uint64_t offset);
/* Takes what has arrived without waiting. */
void request_poll(struct request *request);

/* ---- blob.c: the blob, decompressed ---- */

struct blob;

struct blob *blob_open(struct request *request);
/* Between 1 and `room` more bytes of the uncompressed stream; 0 at its end. */
size_t blob_read(struct blob *blob, uint8_t *out, size_t room);
/* Bytes of the blob read so far. */
uint64_t blob_offset(const struct blob *blob);
/* Hashes the blob up to `to`, which has been read, where reading did not. For the other thread. */
void blob_hash(struct blob *blob, uint64_t to);
/* After the end, and all of it hashed. */
void blob_digest(struct blob *blob, char hex[DIGEST_HEX]);

/* ---- source.c: the uncompressed stream, made by a thread of its own ---- */

struct source;

/* Makes the thread, which reads nothing before `source_start`: first the process has to be confined. */
struct source *source_open(struct request *request);
void source_start(struct source *source);
/* Between 1 and `max` bytes of the uncompressed stream, valid until the next call; 0 at its end. */
size_t source_next(struct source *source, const uint8_t **data, size_t max);
/* Exactly `length` bytes, or the worker ends. */
void source_read(struct source *source, void *data, size_t length);
void source_skip(struct source *source, uint64_t length);
/* Bytes of the uncompressed stream given out so far. */
uint64_t source_offset(const struct source *source);
/* Reads everything that is left, then gives both digests. */
void source_finish(struct source *source, char blob[DIGEST_HEX], char diff[DIGEST_HEX]);

/* ---- tar.c: one entry after the other ---- */

struct xattr {
	char *name;
	uint8_t *value;
	size_t length;
};

/* A run of data of a sparse file. */
struct extent {
	uint64_t offset;
	uint64_t length;
};

enum entry_kind { ENTRY_FILE, ENTRY_DIR, ENTRY_SYMLINK, ENTRY_HARDLINK, ENTRY_CHAR, ENTRY_BLOCK, ENTRY_FIFO };

struct entry {
	enum entry_kind kind;
	char path[PATH_BYTES];    /* no leading slash, no `.`, no `..`; "" is the layer's root */
	char link[PATH_BYTES];    /* as in the archive */
	mode_t mode;              /* permission bits and setuid, setgid, sticky */
	uint32_t uid, gid;
	uint64_t size;            /* of the finished file */
	uint64_t stored;          /* bytes of it in the archive */
	uint32_t major, minor;
	struct timespec mtime;
	struct xattr *xattrs;
	size_t xattr_count;
	struct extent *extents;   /* NULL: the file is not sparse */
	size_t extent_count;
};

struct tar;

struct tar *tar_open(struct source *source);
/* The next entry, valid until the next call, its data still to be read from the source; NULL at the end. */
struct entry *tar_next(struct tar *tar);
/* Cleans a name of the archive into `out`. Ends the worker on `..` and on what no path can be. */
void tar_clean_path(const char *raw, char out[PATH_BYTES]);

/* ---- pax.c ---- */

struct pax {
	char *path, *link;
	bool has_size, has_uid, has_gid, has_mtime;
	uint64_t size;
	uint32_t uid, gid;
	struct timespec mtime;
	struct xattr *xattrs;
	size_t xattr_count;
	/* GNU sparse formats 0.0, 0.1 and 1.0 */
	bool sparse, sparse_map_in_data;
	uint64_t sparse_size;
	struct extent *extents;
	size_t extent_count;
	bool half_extent;
};

/* Takes the records of one extended header into `pax`. `data` is changed. */
void pax_parse(struct pax *pax, char *data, size_t length);
void pax_clear(struct pax *pax);
uint64_t parse_decimal(const char *text, size_t length, const char *what);
void extent_append(struct extent **list, size_t *count, uint64_t offset, uint64_t length);

/* ---- apply.c, place.c: entries become files ---- */

struct totals {
	uint64_t entries;
	uint64_t disk;            /* bytes in whole blocks */
	uint64_t inodes;
	uint64_t implied;         /* directories that no entry described */
	uint64_t skipped;         /* extended attributes left out */
};

struct place;

/* `root` is the layer's directory, which must be the process's root directory as well. */
struct place *place_open(int root, struct totals *totals);
/* A descriptor of the directory that `path` is in, made if missing, and the name in it. Valid until the next call. */
int place_parent(struct place *place, const char *path, const char **name);
/* Frees the name of whatever an earlier entry put there. Returns whether that was a whiteout. */
bool place_clear(int parent, const char *name);
void place_opaque(int directory, const char *what);
/* Remembers to set a directory's time when nothing more can change it. */
void place_defer_time(struct place *place, const char *path, const struct timespec *mtime);
void place_finish(struct place *place);
int place_root(const struct place *place);

void apply(struct tar *tar, struct source *source, struct place *place, struct request *request, struct totals *totals);

/* ---- confine.c ---- */

/* Leaves the process with nothing but these two directories, as /images and /layers, in namespaces of its own. */
void confine_service(const char *images, const char *layers);
/* Gives a worker its own mounts; what it opens from here on belongs to them. */
void confine_apart(void);
/* Makes `directory` the root and the only mount of the process, and takes from it what unpacking does not need. */
void confine_worker(int directory);
/* ---- syscalls.c ---- */
/* Leaves the process the system calls of its work alone. */
void confine_syscalls(void);

#endif
