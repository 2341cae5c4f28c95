/* Paths in a tree that an image or a running container controls. Nothing here ever uses a resolved string: the kernel
 * walks (openat2, RESOLVE_IN_ROOT), and what is missing is made next to an open directory, one component at a time. That
 * leaves no moment between looking and using (CVE-2021-30465, CVE-2024-45310). */
#include <string.h>
#include <sys/stat.h>

#include "child/job.h"
#include "child/sys.h"
#include "common/io.h"

enum { LINKS_MOST = 40, STEPS_MOST = 4096, WORK_BYTES = 2 * 4096 };

int root_open(int root, const char *path, uint64_t flags, uint64_t resolve)
{
	/* EAGAIN: something was renamed on the way, and the kernel can't tell whether ".." stayed inside. */
	for (int tries = 0; tries < 128; tries++) {
		int fd = sys_openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve);

		if (fd >= 0 || errno != EAGAIN)
			return fd;
	}
	return -1;
}

/* The longest part of `path` that exists: an open directory, and where the first missing component starts. */
static int deepest(int root, char *path, size_t *missing)
{
	size_t end = strlen(path);

	for (;;) {
		char kept;
		int fd;

		while (end > 0 && path[end - 1] == '/')
			end--;
		while (end > 0 && path[end - 1] != '/')
			end--;
		*missing = end;
		kept = path[end];
		path[end] = '\0';
		fd = root_open(root, end == 0 ? "." : path, O_PATH | O_DIRECTORY, 0);
		path[end] = kept;
		if (fd >= 0 || errno != ENOENT || end == 0)
			return fd;
	}
}

/* Puts a symbolic link's text in the place of its name. The kernel then walks the new path, so ".." means what it should. */
static int follow(int directory, char *path, size_t at, size_t length, const char *name, int *links)
{
	char link[4096], work[WORK_BYTES];
	ssize_t size = readlinkat(directory, name, link, sizeof link - 1);
	const char *rest = path + at + length;
	size_t kept;

	if (size < 0)
		return -1;
	link[size] = '\0';
	kept = link[0] == '/' ? 0 : at;
	if (++*links > LINKS_MOST || kept + (size_t)size + strlen(rest) + 1 > sizeof work) {
		errno = ELOOP;
		return -1;
	}
	memcpy(work, path, kept);
	memcpy(work + kept, link, (size_t)size);
	memcpy(work + kept + (size_t)size, rest, strlen(rest) + 1);
	memcpy(path, work, strlen(work) + 1);
	return 0;
}

/* One step of root_make: makes the first missing component, or follows it if it is a link that leads nowhere yet. */
static int make_one(int root, char *path, enum want want, mode_t mode, int *links)
{
	size_t at, length;
	char name[256];
	int directory = deepest(root, path, &at), failed = 0, last;

	if (directory < 0)
		return -1;
	length = strcspn(path + at, "/");
	last = path[at + length + strspn(path + at + length, "/")] == '\0';
	if (length == 0 || length >= sizeof name) {
		close(directory);
		errno = length == 0 ? ENOENT : ENAMETOOLONG;
		return -1;
	}
	memcpy(name, path + at, length);
	name[length] = '\0';
	if (follow(directory, path, at, length, name, links) < 0) {
		if (errno == ENOENT) {
			failed = last && want == WANT_FILE ? mknodat(directory, name, S_IFREG | mode, 0)
							   : mkdirat(directory, name, last ? mode : 0755);
			failed = failed < 0 && errno != EEXIST;
		} else {
			failed = errno != EINVAL; /* EINVAL: no link, so it has appeared meanwhile */
		}
	}
	close_calmly(directory);
	return failed ? -1 : 0;
}

int root_make(int root, const char *path, enum want want, mode_t mode)
{
	char work[WORK_BYTES];
	int links = 0;

	if (strlen(path) >= sizeof work) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(work, path, strlen(path) + 1);
	for (int steps = 0; steps < STEPS_MOST; steps++) {
		int fd = root_open(root, work, O_PATH, 0);

		if (fd >= 0 || errno != ENOENT)
			return fd;
		if (make_one(root, work, want, mode, &links) < 0)
			return -1;
	}
	errno = ELOOP;
	return -1;
}

int root_parent(int root, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char parent[4096];

	*name = slash + 1;
	if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
		errno = EINVAL;
		return -1;
	}
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	return root_make(root, slash == path ? "/" : parent, WANT_DIRECTORY, 0755);
}
