/* Opens log files. Whatever lies in a pod's log directory a container may have put there (a hostPath of /var/log is not rare),
 * and this writes as the host's root what the container says: so nothing is followed there, and only a regular file is used. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

/* Made, or what is there. */
static int open_file(int dir, const char *name)
{
	for (int tries = 0; tries < 16; tries++) {
		int at = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (at < 0 && errno == ENOENT) {
			int fd = openat(dir, name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
			if (fd >= 0 || errno != EEXIST)
				return fd;
			continue;
		}
		if (at < 0)
			return -1;
		return open_regular(at, O_WRONLY | O_APPEND);
	}
	return -1;
}

/* The directory `name` in `dir`, made if it is missing, never a link. Takes `dir`. */
static int enter(int dir, const char *name)
{
	int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (next < 0 && errno == ENOENT && (mkdirat(dir, name, 0755) == 0 || errno == EEXIST))
		next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (next < 0 && errno == ENOTDIR)
		errno = ELOOP;
	close_calmly(dir);
	return next;
}

/* Up to "//", or to the last slash, a path is the machine's own, with links as its administrator likes. */
int log_open(const char *path)
{
	char copy[PATH_MAX];
	if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) {
		errno = ENAMETOOLONG;
		return -1;
	}
	char *below = strstr(copy, "//");
	if (!below)
		below = strrchr(copy, '/');
	if (!below) {
		errno = EINVAL;
		return -1;
	}
	char *name = below + strspn(below, "/"), *slash;
	*below = 0;
	int dir = open(copy[0] ? copy : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (; dir >= 0 && (slash = strchr(name, '/')); name = slash + 1) {
		*slash = 0;
		dir = enter(dir, name);
	}
	if (dir < 0)
		return -1;
	int fd = open_file(dir, name);
	close_calmly(dir);
	return fd;
}
