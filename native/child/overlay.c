/* A detached overlay mount. New kernels (6.8) take one lower directory at a time; older ones take one page of options, into
 * which up to 128 layers fit because they are named relative to the directory that holds them all. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "child/job.h"
#include "child/sys.h"

enum { OPTION_BYTES = 4096 };

/* The kernel's own words about a failed fsconfig, if it has any: "e overlay: ..." */
static const char *context_log(int context, char *to, size_t size)
{
	ssize_t length = read(context, to, size - 1);

	if (length <= 0)
		return "";
	to[length] = '\0';
	to[strcspn(to, "\n")] = '\0';
	return to;
}

static int set(int context, const char *key, const char *value)
{
	return fsconfig(context, FSCONFIG_SET_STRING, key, value, 0);
}

/* -1 with errno EINVAL: this kernel can't, or the options are wrong; the old way then tells which. */
static int by_context(const struct list *lower, const struct rootfs_plan *writable, char *log, size_t size)
{
	int context = fsopen("overlay", FSOPEN_CLOEXEC), mount = -1, error;
	struct reader items = lower->items;
	int bad = context < 0 || set(context, "source", "overlay") < 0;

	for (uint32_t i = 0; i < lower->count && !bad; i++)
		bad = set(context, "lowerdir+", take_text(&items)) < 0;
	if (!bad && writable != NULL)
		bad = set(context, "upperdir", writable->upper) < 0 || set(context, "workdir", writable->work) < 0 ||
		      (writable->is_volatile && fsconfig(context, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0);
	if (!bad)
		bad = fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0;
	if (!bad)
		mount = fsmount(context, FSMOUNT_CLOEXEC, writable == NULL ? MOUNT_ATTR_RDONLY : 0);
	if (mount >= 0) {
		close(context);
		return mount;
	}
	error = errno;
	snprintf(log, size, "%s", "");
	if (context >= 0) {
		char text[200];

		snprintf(log, size, "%s", context_log(context, text, sizeof text));
		close(context);
	}
	errno = error;
	return -1;
}

int directory_of(const char *path, char *to, size_t size)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash == path ? 1 : (size_t)(slash - path);

	if (length >= size)
		return -1;
	memcpy(to, path, length);
	to[length] = '\0';
	return 0;
}

struct options {
	char text[OPTION_BYTES];
	size_t used;
	int full;
};

static void add(struct options *options, const char *key, const char *value)
{
	int length;

	if (strpbrk(value, ",:\\") != NULL)
		options->full = 1;
	length = snprintf(options->text + options->used, sizeof options->text - options->used, "%s%s", key, value);
	options->used += (size_t)length;
	if (options->used >= sizeof options->text) {
		options->full = 1;
		options->used = 0;
	}
}

/* One directory holds all lower ones (the layer store): work there, and name them by their last component. */
static int common_directory(const struct list *lower, char *to, size_t size)
{
	struct reader items = lower->items;
	char other[OPTION_BYTES];

	for (uint32_t i = 0; i < lower->count; i++) {
		if (directory_of(take_text(&items), i == 0 ? to : other, i == 0 ? size : sizeof other) < 0)
			return 0;
		if (i > 0 && strcmp(to, other) != 0)
			return 0;
	}
	return 1;
}

/* mount(2) attaches at once: over `upper`, which nothing needs by that name afterwards; then a copy is taken, and that goes. */
static int by_options(const struct list *lower, const struct rootfs_plan *writable, const char *at)
{
	struct options options = {.used = 0};
	struct reader items = lower->items;
	char directory[OPTION_BYTES];
	int relative = common_directory(lower, directory, sizeof directory), tree = -1, error;

	if (relative && chdir(directory) < 0)
		return -1;
	for (uint32_t i = 0; i < lower->count; i++) {
		const char *path = take_text(&items);

		add(&options, i == 0 ? "lowerdir=" : ":", relative ? strrchr(path, '/') + 1 : path);
	}
	if (writable != NULL) {
		add(&options, ",upperdir=", writable->upper);
		add(&options, ",workdir=", writable->work);
		add(&options, writable->is_volatile ? "," : "", writable->is_volatile ? "volatile" : "");
	}
	if (options.full) {
		errno = E2BIG;
		return -1;
	}
	if (mount("overlay", at, "overlay", writable == NULL ? MS_RDONLY : 0, options.text) == 0) {
		tree = sys_copy_tree(AT_FDCWD, at, 0);
		error = errno;
		umount2(at, MNT_DETACH);
		errno = error;
	}
	error = errno;
	if (chdir("/") < 0)
		fail("rootfs", errno, "chdir /");
	errno = error;
	return tree;
}

int overlay_mount(const struct list *lower, const struct rootfs_plan *writable)
{
	struct reader items = lower->items;
	const char *first = take_text(&items);
	char log[200];
	int tree = by_context(lower, writable, log, sizeof log);

	if (tree < 0 && errno == EINVAL) {
		tree = by_options(lower, writable, writable == NULL ? first : writable->upper);
		if (tree < 0 && errno == E2BIG)
			fail("rootfs", E2BIG, "overlay of %u layers at %s: too many or too long names for this kernel", lower->count, first);
	}
	if (tree < 0)
		fail("rootfs", errno, "overlay of %u layers, %s first%s%s%s%s", lower->count, first, writable ? ", upper " : "",
		     writable ? writable->upper : "", log[0] ? ": " : "", log);
	return tree;
}
