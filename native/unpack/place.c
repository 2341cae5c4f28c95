/*
 * Where an entry goes. Every name is resolved by the kernel below the layer's own root, which is also the process's root directory:
 * links that the layer brings are followed inside it, as in the container that will see it, and lead nowhere else.
 */
#include "unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { MAX_DEPTH = 512 };

struct deferred {
	struct deferred *next;
	struct timespec mtime;
	char path[];
};

struct place {
	int root;
	struct totals *totals;
	int parent;               /* descriptor of `parent_path`, or -1 */
	char parent_path[PATH_BYTES];
	struct deferred *times;
};

struct place *place_open(int root, struct totals *totals) {
	struct place *place = must_alloc(sizeof *place);
	place->root = root;
	place->totals = totals;
	place->parent = -1;
	return place;
}

int place_root(const struct place *place) {
	return place->root;
}

static int open_directory(const struct place *place, const char *path, uint64_t flags, uint64_t resolve) {
	struct open_how how = {.flags = flags | O_DIRECTORY | O_CLOEXEC, .resolve = resolve | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
	return (int)syscall(SYS_openat2, place->root, *path ? path : ".", &how, sizeof how);
}

static void forget(struct place *place) {
	if (place->parent >= 0)
		close(place->parent);
	place->parent = -1;
}

static bool is_whiteout(const struct stat *st) {
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

void place_opaque(int directory, const char *what) {
	if (fsetxattr(directory, "trusted.overlay.opaque", "y", 1, 0) < 0)
		fail("whiteout", errno, "%s", what);
}

/* Makes `name` in `directory`, for a path whose directories no entry described. */
static void make_implied(struct place *place, int directory, const char *name, const char *path) {
	bool opaque = false;

	if (mkdirat(directory, name, 0755) < 0) {
		struct stat st;
		if (errno != EEXIST || fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			fail("mkdir", errno, "%s", path);
		if (!is_whiteout(&st))
			fail("unsafe", 0, "%s goes through something that is not a directory", path);
		opaque = true;
		if (unlinkat(directory, name, 0) < 0 || mkdirat(directory, name, 0755) < 0)
			fail("mkdir", errno, "%s", path);
	}
	place->totals->implied++;
	place->totals->inodes++;
	place->totals->disk += 4096;
	if (opaque) {
		int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			fail("mkdir", errno, "%s", path);
		place_opaque(fd, path);
		close(fd);
	}
}

/* Makes what is missing of a directory's path, from the top. */
static int make_parents(struct place *place, const char *path) {
	char prefix[PATH_BYTES];
	int above = open_directory(place, "", O_PATH, RESOLVE_IN_ROOT);

	for (const char *at = path;;) {
		size_t part = strcspn(at, "/");
		size_t length = (size_t)(at - path) + part;
		char name[256];
		memcpy(prefix, path, length);
		prefix[length] = 0;
		memcpy(name, at, part);
		name[part] = 0;
		int next = open_directory(place, prefix, O_PATH, RESOLVE_IN_ROOT);
		if (next < 0 && (errno == ENOENT || errno == ENOTDIR)) {
			make_implied(place, above, name, prefix);
			next = open_directory(place, prefix, O_PATH, RESOLVE_IN_ROOT);
		}
		if (next < 0)
			fail("open", errno, "%s", prefix);
		close(above);
		above = next;
		if (!at[part])
			return above;
		at += part + 1;
	}
}

int place_parent(struct place *place, const char *path, const char **name) {
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;
	char parent[PATH_BYTES];

	*name = slash ? slash + 1 : path;
	if (place->parent >= 0 && strlen(place->parent_path) == length && memcmp(place->parent_path, path, length) == 0)
		return place->parent;
	memcpy(parent, path, length);
	parent[length] = 0;
	forget(place);
	place->parent = open_directory(place, parent, O_PATH, RESOLVE_IN_ROOT);
	if (place->parent < 0 && (errno == ENOENT || errno == ENOTDIR))
		place->parent = make_parents(place, parent);
	if (place->parent < 0)
		fail("open", errno, "%s", parent);
	memcpy(place->parent_path, parent, length + 1);
	return place->parent;
}

static void remove_tree(int parent, const char *name, int depth) {
	if (unlinkat(parent, name, 0) == 0)
		return;
	if (errno != EISDIR && errno != EPERM)
		fail("replace", errno, "%s", name);
	if (depth == MAX_DEPTH)
		fail("limit", 0, "a directory to be replaced is more than %d deep", MAX_DEPTH);
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory)
		fail("replace", errno, "%s", name);
	for (struct dirent *child; (child = readdir(directory));)
		if (strcmp(child->d_name, ".") != 0 && strcmp(child->d_name, "..") != 0)
			remove_tree(fd, child->d_name, depth + 1);
	closedir(directory);
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
		fail("replace", errno, "%s", name);
}

bool place_clear(int parent, const char *name) {
	struct stat st;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail("replace", errno, "%s", name);
	remove_tree(parent, name, 0);
	return is_whiteout(&st);
}

void place_defer_time(struct place *place, const char *path, const struct timespec *mtime) {
	size_t length = strlen(path) + 1;
	struct deferred *entry = must_alloc(sizeof *entry + length);

	entry->mtime = *mtime;
	memcpy(entry->path, path, length);
	entry->next = place->times;
	place->times = entry;
}

void place_finish(struct place *place) {
	forget(place);
	/* Latest first; an entry that was described twice gets its first time last, so reverse. */
	struct deferred *forward = NULL;
	for (struct deferred *entry = place->times, *next; entry; entry = next) {
		next = entry->next;
		entry->next = forward;
		forward = entry;
	}
	for (struct deferred *entry = forward; entry; entry = entry->next) {
		struct timespec times[2] = {entry->mtime, entry->mtime};
		int fd = open_directory(place, entry->path, O_RDONLY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
		/* A later entry may have taken its place. */
		if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
			continue;
		if (fd < 0 || futimens(fd, times) < 0)
			fail("times", errno, "%s", entry->path);
		close(fd);
	}
	place->times = NULL;
}
