/* Reads files of an image: /etc/passwd and the like. Everything below the layers is a stranger's, so nothing is resolved
 * but inside their overlay, nothing but a regular file is opened for reading, and no more than asked is read. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "common/io.h"
#include "launch/launch.h"

#define LAYER_LIMIT 512

/* /proc/self/fd as it was before an overlay came to lie over /proc. */
static int own_fds = -1;

static void reply(uint16_t type, struct message *m) __attribute__((noreturn));
static void reply(uint16_t type, struct message *m)
{
	if (m->failed)
		_exit(1);
	_exit(!(write_all(1, &type, sizeof type) && write_all(1, buffer_data(&m->body), buffer_length(&m->body))));
}

static void refuse(int error, const char *stage, const char *text) __attribute__((noreturn));
static void refuse(int error, const char *stage, const char *text)
{
	struct message m = {0};
	put_u32(&m, (uint32_t)error);
	put_text(&m, stage);
	put_text(&m, text);
	reply(OP_FAILED, &m);
}

/* A detached overlay, with no limit on the sum of its layers' paths (lowerdir+ is of Linux 6.5). -1: not here. */
static int new_overlay(char *const *layers, uint32_t count)
{
	int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -1;
	for (uint32_t i = count; i > 0; i--)
		if (fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", layers[i - 1], 0) < 0)
			return -1;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
}

/* The same by mount(2), in a mount namespace of this process alone. Its options fit into one page, so the layers are named
 * from the directory that holds them all when there is one. */
static int old_overlay(char *const *layers, uint32_t count)
{
	static char options[4096];
	size_t common = (size_t)(strrchr(layers[0], '/') - layers[0]) + 1;
	for (uint32_t i = 1; i < count; i++)
		if (strncmp(layers[i], layers[0], common) != 0)
			common = 1;
	char parent[PATH_MAX];
	snprintf(parent, sizeof parent, "%.*s", (int)common, layers[0]);
	size_t used = (size_t)snprintf(options, sizeof options, "lowerdir=");
	for (uint32_t i = count; i > 0 && used < sizeof options; i--)
		used += (size_t)snprintf(options + used, sizeof options - used, "%s%s", layers[i - 1] + common, i > 1 ? ":" : "");
	if (used >= sizeof options) {
		errno = E2BIG;
		return -1;
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	if (common && chdir(parent) < 0)
		return -1;
	/* It covers /proc in this process's own view only; any directory would do, and this one always exists. */
	if (mount("overlay", "/proc", "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return -1;
	return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int open_root(char *const *layers, uint32_t count)
{
	if (count == 1)
		return open(layers[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
	int root = new_overlay(layers, count);
	return root >= 0 ? root : old_overlay(layers, count);
}

/* Looked at before it is opened: to open a device is to use it (a watchdog would start, a tape rewind), and a FIFO would hold
 * us for ever. -1: nothing there that could be read. */
static int open_regular(int root, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	char self[32];
	struct stat st;
	int at = (int)syscall(SYS_openat2, root, path, &how, sizeof how), fd;
	if (at < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != EXDEV)
		refuse(errno, "open", path);
	if (at < 0 || fstat(at, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(at);
		return -1;
	}
	snprintf(self, sizeof self, "%d", at);
	fd = openat(own_fds, self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		refuse(errno, "open", path);
	close(at);
	return fd;
}

static void put_file(struct message *m, int root, const char *path, uint32_t limit)
{
	int fd = open_regular(root, path);
	if (fd < 0) {
		put_u32(m, 0);
		put_u32(m, 0);
		return;
	}
	uint8_t *data = malloc(limit ? limit : 1);
	ssize_t length = data ? read_all(fd, data, limit) : -1;
	if (length < 0)
		refuse(errno, "read", path);
	put_u32(m, 1);
	put_bytes(m, data, (size_t)length);
	free(data);
	close(fd);
}

/* u32 limit | u32 count, layers lowest first | u32 count, paths. Answer: for each, u32 found, bytes. */
void read_image_files(struct reader *r)
{
	static char *layers[LAYER_LIMIT];
	char path[PATH_MAX];
	struct message m = {0};
	uint32_t limit = take_u32(r), count = take_u32(r);
	if (count == 0 || count > LAYER_LIMIT || limit > LIMIT_FRAME)
		refuse(EINVAL, "request", "layers or limit out of range");
	for (uint32_t i = 0; i < count; i++) {
		take_text(r, path, sizeof path);
		layers[i] = strdup(path);
		if (path[0] != '/' || !layers[i])
			refuse(EINVAL, "request", "a layer is not an absolute path");
	}
	own_fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int root = open_root(layers, count);
	if (root < 0)
		refuse(errno, "overlay", layers[0]);
	uint32_t paths = take_u32(r);
	for (uint32_t i = 0; i < paths && !r->bad; i++) {
		take_text(r, path, sizeof path);
		if (!r->bad)
			put_file(&m, root, path, limit);
	}
	if (r->bad)
		refuse(EBADMSG, "request", "malformed");
	reply(OP_OK, &m);
}
