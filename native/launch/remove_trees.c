/* Removes what containers have left: trees of any depth, made by people who may mean harm. No link is followed, no mount
 * entered, and no more than a few fds are open at any depth. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "child/job.h"
#include "launch/launch.h"

#define DEPTH 32

struct tree {
	int root; /* the directory that is being emptied */
	uint64_t mount;
	unsigned moved; /* names given to what was too deep */
	int error;
};

static bool same_mount(const struct tree *t, int dir, const char *name, struct statx *st)
{
	unsigned mask = STATX_TYPE | STATX_MNT_ID;
	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, mask, st) < 0)
		return false;
	return !(st->stx_mask & STATX_MNT_ID) || st->stx_mnt_id == t->mount;
}

static void empty(struct tree *t, int fd, int depth);

static void remove_entry(struct tree *t, int dir, const char *name, int depth)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return;
	if (errno != EISDIR && errno != EPERM) {
		t->error = errno;
		return;
	}
	struct statx st;
	if (!same_mount(t, dir, name, &st)) {
		t->error = EBUSY;
		return;
	}
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return;
	if (errno != ENOTEMPTY && errno != EEXIST) {
		t->error = errno;
		return;
	}
	if (depth >= DEPTH) {
		/* Too deep to hold an fd for each level: it becomes a child of the root and has its turn there. */
		char moved[32];
		snprintf(moved, sizeof moved, ".deep-%u-%d", t->moved++, getpid());
		if (renameat(dir, name, t->root, moved) < 0)
			t->error = errno;
		return;
	}
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		t->error = errno;
		return;
	}
	empty(t, fd, depth + 1);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		t->error = errno;
}

/* Takes the fd over. */
static void empty(struct tree *t, int fd, int depth)
{
	DIR *dir = fdopendir(fd);
	if (!dir) {
		t->error = errno;
		close(fd);
		return;
	}
	for (struct dirent *e; (e = readdir(dir));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			remove_entry(t, fd, e->d_name, depth);
	closedir(dir);
}

static int remove_tree(const char *path)
{
	struct statx st;
	struct tree t = {.root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
	if (t.root < 0)
		return errno == ENOENT ? 0 : (errno == ENOTDIR || errno == ELOOP) && unlink(path) == 0 ? 0 : errno;
	if (statx(t.root, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
		return errno;
	t.mount = st.stx_mnt_id;
	/* Again as long as a pass has moved something to the top. */
	for (unsigned before = 1, pass = 0; t.moved != before || pass == 0; pass++) {
		before = t.moved;
		t.error = 0;
		int again = openat(t.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (again < 0)
			return errno;
		empty(&t, again, 0);
	}
	close(t.root);
	if (t.error)
		return t.error;
	return rmdir(path) == 0 || errno == ENOENT ? 0 : errno;
}

/* u32 count, absolute paths. The first failure is the answer, after all have been tried. */
void remove_trees(struct reader *r)
{
	const char *bad = "";
	int error = 0;
	uint32_t count = take_u32(r);
	for (uint32_t i = 0; i < count; i++) {
		const char *path = take_path(r);
		int one = r->bad ? EBADMSG : remove_tree(path);
		if (one && !error) {
			error = one;
			bad = path;
		}
	}
	if (error)
		fail("remove", error, "%s", bad);
	_exit(0);
}
