/* Reads files of an image: /etc/passwd and the like. Everything below the layers is a stranger's, so nothing is resolved
 * but inside their overlay, nothing but a regular file is opened for reading, and no more than asked is read. */
#include <sched.h>
#include <stdlib.h>
#include "child/job.h"
#include "child/sys.h"
#include "common/io.h"
#include "launch/launch.h"

static int open_root(const struct list *layers)
{
	struct reader items = layers->items;
	const char *top = take_text(&items);
	struct mount_attr no_devices = {.attr_set = MOUNT_ATTR_NODEV};
	int root;
	if (layers->count == 1) {
		root = open(top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	} else {
		/* On an old kernel the overlay is attached for a moment, which nobody else may see. */
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			fail("overlay", errno, "a mount namespace");
		root = overlay_mount(layers, NULL);
		if (sys_set_mount(root, 0, &no_devices) < 0)
			fail("overlay", errno, "without devices");
	}
	if (root < 0)
		fail("overlay", errno, "%s", top);
	return root;
}

/* -1: nothing there that could be read. */
static int open_file(int root, const char *path)
{
	int fd = sys_openat2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
	if (fd >= 0)
		fd = open_regular(fd, O_RDONLY);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != EXDEV && errno != EINVAL)
		fail("open", errno, "%s", path);
	return fd;
}

static void put_file(struct message *m, int root, const char *path, uint32_t limit)
{
	int fd = open_file(root, path);
	if (fd < 0) {
		put_u32(m, 0);
		put_u32(m, 0);
		return;
	}
	uint8_t *data = malloc(limit ? limit : 1);
	ssize_t length = data ? read_all(fd, data, limit) : -1;
	if (length < 0)
		fail("read", errno, "%s", path);
	put_u32(m, 1);
	put_bytes(m, data, (size_t)length);
	free(data);
	close(fd);
}

/* u32 limit | layers, topmost first | u32 count, paths. Answer: for each, u32 found, bytes. */
void read_image_files(struct reader *r)
{
	struct message m = {0};
	uint32_t limit = take_u32(r);
	struct list layers = take_list(r, PLAN_MAX_LAYERS, skip_path);
	if (r->bad || layers.count == 0 || limit > LIMIT_FRAME)
		fail("request", EINVAL, "layers or limit out of range");
	int root = open_root(&layers);
	uint32_t paths = take_u32(r);
	for (uint32_t i = 0; i < paths && !r->bad; i++)
		put_file(&m, root, take_path(r), limit);
	if (r->bad || m.failed)
		fail("request", EBADMSG, "malformed");
	_exit(!write_all(1, buffer_data(&m.body), buffer_length(&m.body)));
}
