#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define WHITEOUT ".wh."
#define WHITEOUT_META ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

/* One entry on its way to the disk. */
struct target {
	const struct entry *entry;
	int parent;
	const char *name;
	struct place *place;
	struct totals *totals;
};

/*
 * What an image may set. trusted.* and user.overlay.* speak to overlayfs (a forged redirect would show one container the files of
 * another layer's directories), security.selinux and security.ima are the host's policy.
 */
static bool xattr_allowed(const char *name) {
	if (strncmp(name, "user.", 5) == 0)
		return strncmp(name, "user.overlay.", 13) != 0;
	return strcmp(name, "security.capability") == 0 || strcmp(name, "system.posix_acl_access") == 0 ||
	       strcmp(name, "system.posix_acl_default") == 0;
}

static void set_xattrs(const struct target *target, int fd) {
	const struct entry *entry = target->entry;

	for (size_t i = 0; i < entry->xattr_count; i++) {
		const struct xattr *xattr = &entry->xattrs[i];
		if (!xattr_allowed(xattr->name)) {
			target->totals->skipped++;
			continue;
		}
		if (fsetxattr(fd, xattr->name, xattr->value, xattr->length, 0) == 0)
			continue;
		/* A file system without ACLs or user attributes: everything else of the image still works. */
		if (errno != EOPNOTSUPP && errno != EPERM)
			fail("xattr", errno, "%s of %s", xattr->name, entry->path);
		target->totals->skipped++;
	}
}

/* Frees the name for `target` after EEXIST. Returns whether it was a whiteout of this same layer. */
static bool make_room(struct target *target) {
	target->totals->inodes -= target->totals->inodes > 0;
	return place_clear(target->parent, target->name);
}

static int try_to_make(const struct target *target) {
	const struct entry *entry = target->entry;
	mode_t type = entry->kind == ENTRY_CHAR ? S_IFCHR : entry->kind == ENTRY_BLOCK ? S_IFBLK : S_IFIFO;
	dev_t device = entry->kind == ENTRY_FIFO ? 0 : makedev(entry->major, entry->minor);

	if (entry->kind == ENTRY_FILE)
		return openat(target->parent, target->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, entry->mode);
	if (entry->kind == ENTRY_SYMLINK)
		return symlinkat(entry->link, target->parent, target->name);
	return mknodat(target->parent, target->name, type | (entry->mode & 0777), device);
}

/* A file, link or device, in the place of whatever an earlier entry put there. A file's descriptor. */
static int make(struct target *target) {
	int made = try_to_make(target);

	if (made < 0 && errno == EEXIST) {
		make_room(target);
		made = try_to_make(target);
	}
	if (made < 0)
		fail("create", errno, "%s", target->entry->path);
	return made;
}

static void set_times(const struct target *target) {
	struct timespec times[2] = {target->entry->mtime, target->entry->mtime};

	if (utimensat(target->parent, target->name, times, AT_SYMLINK_NOFOLLOW) < 0)
		fail("times", errno, "%s", target->entry->path);
}

static void copy_run(struct source *source, int fd, uint64_t length, const struct entry *entry) {
	while (length > 0) {
		const uint8_t *data;
		size_t n = source_next(source, &data, length < 1 << 20 ? (size_t)length : 1 << 20);
		if (n == 0)
			fail("truncated", 0, "the layer's archive ends inside %s", entry->path);
		for (size_t at = 0; at < n;) {
			ssize_t written = write(fd, data + at, n - at);
			if (written < 0)
				fail("write", errno, "%s", entry->path);
			at += (size_t)written;
		}
		length -= n;
	}
}

static void copy_data(struct source *source, int fd, const struct entry *entry) {
	if (!entry->extents) {
		copy_run(source, fd, entry->size, entry);
		return;
	}
	for (size_t i = 0; i < entry->extent_count; i++) {
		if (lseek(fd, (off_t)entry->extents[i].offset, SEEK_SET) < 0)
			fail("write", errno, "%s", entry->path);
		copy_run(source, fd, entry->extents[i].length, entry);
	}
	if (ftruncate(fd, (off_t)entry->size) < 0)
		fail("write", errno, "%s", entry->path);
}

static void apply_file(struct target *target, struct source *source) {
	const struct entry *entry = target->entry;
	int fd = make(target);

	copy_data(source, fd, entry);
	/* chown(2) clears setuid and file capabilities: owner, then mode, then attributes. */
	if (entry->uid != 0 || entry->gid != 0) {
		if (fchown(fd, entry->uid, entry->gid) < 0)
			fail("owner", errno, "%s", entry->path);
		if ((entry->mode & 07000) && fchmod(fd, entry->mode) < 0)
			fail("mode", errno, "%s", entry->path);
	}
	if (entry->xattr_count)
		set_xattrs(target, fd);
	struct timespec times[2] = {entry->mtime, entry->mtime};
	if (futimens(fd, times) < 0)
		fail("times", errno, "%s", entry->path);
	if (close(fd) < 0)
		fail("write", errno, "%s", entry->path);
	target->totals->disk += (entry->stored + 4095) & ~UINT64_C(4095);
}

static void describe_directory(const struct target *target, int fd) {
	const struct entry *entry = target->entry;

	if (fchown(fd, entry->uid, entry->gid) < 0)
		fail("owner", errno, "%s", entry->path);
	if (fchmod(fd, entry->mode) < 0)
		fail("mode", errno, "%s", entry->path);
	set_xattrs(target, fd);
	place_defer_time(target->place, entry->path, &entry->mtime);
}

static void apply_directory(struct target *target) {
	const struct entry *entry = target->entry;
	bool opaque = false;

	if (entry->path[0] == 0) {
		describe_directory(target, place_root(target->place));
		return;
	}
	if (mkdirat(target->parent, target->name, entry->mode) < 0) {
		struct stat st;
		if (errno != EEXIST || fstatat(target->parent, target->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			fail("mkdir", errno, "%s", entry->path);
		if (!S_ISDIR(st.st_mode)) {
			opaque = make_room(target);
			if (mkdirat(target->parent, target->name, entry->mode) < 0)
				fail("mkdir", errno, "%s", entry->path);
		}
	}
	int fd = openat(target->parent, target->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		fail("open", errno, "%s", entry->path);
	/* Removed below and made again in this same layer: what lower layers have there must not shine through. */
	if (opaque)
		place_opaque(fd, entry->path);
	describe_directory(target, fd);
	close(fd);
	target->totals->disk += 4096;
}

static void apply_node(struct target *target) {
	const struct entry *entry = target->entry;

	make(target);
	if ((entry->uid || entry->gid) && fchownat(target->parent, target->name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
		fail("owner", errno, "%s", entry->path);
	set_times(target);
}

static void replace_by_link(int from, const char *from_name, int to, const char *name, const struct entry *entry) {
	struct stat old, new;

	if (fstatat(from, from_name, &old, AT_SYMLINK_NOFOLLOW) < 0 || fstatat(to, name, &new, AT_SYMLINK_NOFOLLOW) < 0)
		fail("link", errno, "%s", entry->path);
	if (old.st_ino == new.st_ino)
		return;
	place_clear(to, name);
	if (linkat(from, from_name, to, name, 0) < 0)
		fail("link", errno, "%s to %s", entry->path, entry->link);
}

/* The target's last part is never followed, so that a hard link to a symbolic link is one. */
static void apply_hardlink(struct target *target) {
	const struct entry *entry = target->entry;
	char path[PATH_BYTES];
	const char *from_name;

	tar_clean_path(entry->link, path);
	if (path[0] == 0)
		fail("unsafe", 0, "%s is a hard link to the root", entry->path);
	if (strcmp(path, entry->path) == 0)
		return;
	int to = fcntl(target->parent, F_DUPFD_CLOEXEC, 0);
	if (to < 0)
		fail("link", errno, "%s", entry->path);
	int from = place_parent(target->place, path, &from_name);
	if (linkat(from, from_name, to, target->name, 0) < 0) {
		if (errno != EEXIST)
			fail("link", errno, "%s to %s", entry->path, path);
		replace_by_link(from, from_name, to, target->name, entry);
	}
	close(to);
}

/* OCI image-spec layer.md, "Whiteouts": they hide what lower layers have, never what this layer brings. */
static void apply_whiteout(struct target *target) {
	const char *hidden = target->name + strlen(WHITEOUT);
	struct stat st;
	int directory;

	if (strcmp(target->name, WHITEOUT_OPAQUE) == 0) {
		directory = openat(target->parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0)
			fail("whiteout", errno, "%s", target->entry->path);
		place_opaque(directory, target->entry->path);
		close(directory);
		return;
	}
	/* Other names like it are the bookkeeping of an old file system (aufs). */
	if (strncmp(target->name, WHITEOUT_META, strlen(WHITEOUT_META)) == 0)
		return;
	if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
		fail("unsafe", 0, "a whiteout names no file: %s", target->entry->path);
	if (mknodat(target->parent, hidden, S_IFCHR, 0) == 0) {
		target->totals->inodes++;
		return;
	}
	if (errno != EEXIST || fstatat(target->parent, hidden, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail("whiteout", errno, "%s", target->entry->path);
	if (!S_ISDIR(st.st_mode))
		return;
	directory = openat(target->parent, hidden, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory < 0)
		fail("whiteout", errno, "%s", target->entry->path);
	place_opaque(directory, target->entry->path);
	close(directory);
}

static void apply_entry(struct target *target, struct source *source) {
	switch (target->entry->kind) {
	case ENTRY_FILE:
		apply_file(target, source);
		break;
	case ENTRY_DIR:
		apply_directory(target);
		break;
	case ENTRY_HARDLINK:
		apply_hardlink(target);
		return;
	case ENTRY_SYMLINK:
	case ENTRY_CHAR:
	case ENTRY_BLOCK:
	case ENTRY_FIFO:
		apply_node(target);
		break;
	}
	target->totals->inodes++;
}

void apply(struct tar *tar, struct source *source, struct place *place, struct request *request, struct totals *totals) {
	struct entry *entry;

	while ((entry = tar_next(tar))) {
		if (++totals->entries > request->max_entries)
			fail("limit", 0, "the layer has more than %llu entries", (unsigned long long)request->max_entries);
		struct target target = {.entry = entry, .parent = -1, .name = "", .place = place, .totals = totals};
		if (entry->path[0])
			target.parent = place_parent(place, entry->path, &target.name);
		else if (entry->kind != ENTRY_DIR)
			fail("unsafe", 0, "the layer's root is not a directory");
		if (strncmp(target.name, WHITEOUT, strlen(WHITEOUT)) == 0) {
			source_skip(source, entry->stored);
			apply_whiteout(&target);
		} else {
			apply_entry(&target, source);
		}
	}
	place_finish(place);
}
