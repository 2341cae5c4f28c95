/* The plan's operations, in the container's own mount namespace and with its own rights. */
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "child/job.h"
#include "child/sys.h"
#include "common/io.h"

static int empty = -1; /* one read-only tmpfs for all masked directories: superblocks add up */

static int is_on(int fd, long magic)
{
	struct statfs about;

	return fstatfs(fd, &about) == 0 && about.f_type == magic;
}

static int same_path(const char *target, const char *path)
{
	size_t length = strlen(path);

	return strncmp(target, path, length) == 0 && target[length + strspn(target + length, "/")] == '\0';
}

/* /proc and /sys: were one a link in the image, all that is written there later would go elsewhere (CVE-2019-19921). */
static int real_directory(const struct job *job, const char *target)
{
	int fd = root_open(job->root, target, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	if (fd < 0 && errno == ENOENT) {
		fd = root_make(job->root, target, WANT_DIRECTORY, 0755);
		if (fd >= 0)
			close(fd);
		fd = root_open(job->root, target, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	}
	if (fd < 0)
		fail("mount", errno, "%s has to be a real directory in the image%s", target, errno == ELOOP ? ", and it is a symbolic link" : "");
	return fd;
}

/* A user namespace without a network namespace of its own may not mount sysfs, but may bind what it sees of it. */
static int bind_sys(const struct op *op)
{
	struct mount_attr attr = {.attr_set = op->attributes, .propagation = MS_PRIVATE};
	int tree = sys_copy_tree(AT_FDCWD, "/sys", AT_RECURSIVE);

	if (tree >= 0 && sys_set_mount(tree, 1, &attr) < 0)
		return -1;
	return tree;
}

static int new_fs(const struct op *op)
{
	const char *name = op->source;
	int context = fsopen(name, FSOPEN_CLOEXEC), mount;
	struct reader items = op->options.items;

	if (context < 0 && errno == EPERM && strcmp(name, "sysfs") == 0 && (mount = bind_sys(op)) >= 0)
		return mount;
	if (context < 0)
		fail("mount", errno, "%s on %s", name, op->target);
	/* What /proc/mounts and df show first; programs look for "proc" and "tmpfs" there. */
	if (fsconfig(context, FSCONFIG_SET_STRING, "source", name, 0) < 0)
		fail("mount", errno, "%s on %s", name, op->target);
	for (uint32_t i = 0; i < op->options.count; i++) {
		struct mount_option option = take_option(&items);
		const char *value = option.value;

		if (fsconfig(context, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option.key, value, 0) < 0)
			fail("mount", errno, "%s on %s: option %s%s%s", name, op->target, option.key, value ? "=" : "", value ? value : "");
	}
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail("mount", errno, "%s on %s", name, op->target);
	mount = fsmount(context, FSMOUNT_CLOEXEC, op->attributes);
	if (mount < 0)
		fail("mount", errno, "%s on %s", name, op->target);
	close(context);
	return mount;
}

static void do_fs(struct job *job, const struct op *op)
{
	int strict = same_path(op->target, "/proc") || same_path(op->target, "/sys") || strcmp(op->source, "proc") == 0 ||
		     strcmp(op->source, "sysfs") == 0;
	int target = strict ? real_directory(job, op->target) : root_make(job->root, op->target, WANT_DIRECTORY, 0755);
	int mount;

	if (target < 0)
		fail("mount", errno, "mount point %s", op->target);
	mount = new_fs(op);
	if (sys_attach(mount, target) < 0)
		fail("mount", errno, "%s on %s", op->source, op->target);
	close(mount);
	close(target);
}

static int bind_target(struct job *job, const struct op *op, int tree)
{
	struct stat about;
	int target;

	if (fstat(tree, &about) < 0)
		fail("mount", errno, "stat the source of %s", op->target);
	if (same_path(op->target, "/"))
		fail("mount", EINVAL, "a volume may not cover the root");
	target = op->flags & BIND_FLAG_CREATE
			 ? root_make(job->root, op->target, S_ISDIR(about.st_mode) ? WANT_DIRECTORY : WANT_FILE,
				     S_ISDIR(about.st_mode) ? 0755 : 0644)
			 : root_open(job->root, op->target, O_PATH, 0);
	if (target < 0)
		fail("mount", errno, "mount point %s", op->target);
	if ((same_path(op->target, "/proc") || is_on(target, PROC_SUPER_MAGIC)) && !(op->flags & BIND_FLAG_OVER_PROC) &&
	    !is_on(tree, PROC_SUPER_MAGIC))
		fail("mount", EPERM, "%s: a volume may not cover anything in /proc", op->target);
	return target;
}

static void do_bind(struct job *job, const struct op *op, int tree)
{
	int target = bind_target(job, op, tree);

	if (sys_attach(tree, target) < 0)
		fail("mount", errno, "%s on %s", op->source[0] ? op->source : "image", op->target);
	close(tree);
	close(target);
}

int bind_over(int parent, const char *name, int tree)
{
	int target, attached;

	if (mknodat(parent, name, S_IFREG | 0600, 0) < 0 && errno != EEXIST)
		return -1;
	target = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	attached = target < 0 ? -1 : sys_attach(tree, target);
	close_calmly(target);
	return attached;
}

static void make_node(int parent, const char *name, const struct op *op)
{
	mode_t kind = op->type == 'c' ? S_IFCHR : op->type == 'b' ? S_IFBLK : S_IFIFO;
	dev_t number = op->type == 'p' ? 0 : makedev(op->major, op->minor);
	struct stat about;

	if (mknodat(parent, name, kind | op->mode, number) < 0) {
		int error = errno;

		if (error == EEXIST && fstatat(parent, name, &about, AT_SYMLINK_NOFOLLOW) == 0 && (about.st_mode & S_IFMT) == kind &&
		    about.st_rdev == number)
			return;
		fail("device", error, "%s (%c %u:%u)", op->target, op->type, op->major, op->minor);
	}
	if ((op->uid != 0 || op->gid != 0) && fchownat(parent, name, op->uid, op->gid, AT_SYMLINK_NOFOLLOW) < 0)
		fail("device", errno, "owner of %s", op->target);
}

static void do_device(struct job *job, const struct op *op, int tree)
{
	const char *name;
	int parent = root_parent(job->root, op->target, &name);

	if (parent < 0)
		fail("device", errno, "directory of %s", op->target);
	if (tree < 0) {
		make_node(parent, name, op);
	} else {
		if (bind_over(parent, name, tree) < 0)
			fail("device", errno, "bind %s", op->target);
		close(tree);
	}
	close(parent);
}

static void do_symlink(struct job *job, const struct op *op)
{
	const char *name;
	int parent = root_parent(job->root, op->target, &name);
	char there[4096];
	ssize_t length;

	if (parent < 0)
		fail("symlink", errno, "directory of %s", op->target);
	if (symlinkat(op->source, parent, name) < 0) {
		int error = errno;

		/* Never replaced: what stands there may be the image's, or a volume's on the host (CVE-2026-41579). */
		length = readlinkat(parent, name, there, sizeof there);
		if (error != EEXIST || length != (ssize_t)strlen(op->source) || memcmp(there, op->source, (size_t)length) != 0)
			fail("symlink", error, "%s -> %s", op->target, op->source);
	}
	close(parent);
}

static void do_mkdir(struct job *job, const struct op *op)
{
	int fd = root_make(job->root, op->target, WANT_DIRECTORY, op->mode);
	struct stat about;

	if (fd < 0)
		fail("mkdir", errno, "%s", op->target);
	if (fstat(fd, &about) < 0 || !S_ISDIR(about.st_mode))
		fail("mkdir", ENOTDIR, "%s", op->target);
	close(fd);
}

static int make_empty(void)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC), mount = -1;

	if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "nr_blocks", "1", 0) < 0 ||
	    fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", "1", 0) < 0 ||
	    fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 || fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		fail("mask", errno, "an empty file system");
	mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		fail("mask", errno, "an empty file system");
	close(context);
	return mount;
}

/* The first mask takes the tree itself; each further one a copy of it, as by then it is attached and can be copied. */
static int mask_tree(int *tree, int *used)
{
	int copy = *tree;

	if (*used) {
		copy = sys_copy_tree(*tree, "", AT_EMPTY_PATH);
		if (copy < 0)
			fail("mask", errno, "copy a mount");
	}
	*used = 1;
	return copy;
}

static void do_mask(struct job *job, const struct op *op)
{
	static int null_used, empty_used;
	int target = root_open(job->root, op->target, O_PATH, 0), tree, *from;
	struct stat about;

	if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	if (target < 0 || fstat(target, &about) < 0)
		fail("mask", errno, "%s", op->target);
	if (S_ISDIR(about.st_mode) && empty < 0)
		empty = make_empty();
	from = S_ISDIR(about.st_mode) ? &empty : &job->null_tree;
	tree = mask_tree(from, S_ISDIR(about.st_mode) ? &empty_used : &null_used);
	if (sys_attach(tree, target) < 0)
		fail("mask", errno, "%s", op->target);
	if (tree != *from)
		close(tree);
	close(target);
}

static void do_readonly(struct job *job, const struct op *op)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int target = root_open(job->root, op->target, O_PATH, 0), tree;

	if (target < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	if (target < 0)
		fail("readonly", errno, "%s", op->target);
	tree = sys_copy_tree(target, "", AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0 || sys_set_mount(tree, 1, &attr) < 0 || sys_attach(tree, target) < 0)
		fail("readonly", errno, "%s", op->target);
	close(tree);
	close(target);
}

void rootfs_ops(struct job *job)
{
	struct reader items = job->launch->ops.items;

	for (uint32_t i = 0; i < job->launch->ops.count; i++) {
		struct op op = take_op(&items);

		switch (op.kind) {
		case ROOT_OP_FS:
			do_fs(job, &op);
			break;
		case ROOT_OP_BIND:
			do_bind(job, &op, source_of(i));
			break;
		case ROOT_OP_DEVICE:
			do_device(job, &op, source_of(i));
			break;
		case ROOT_OP_SYMLINK:
			do_symlink(job, &op);
			break;
		case ROOT_OP_MKDIR:
			do_mkdir(job, &op);
			break;
		case ROOT_OP_MASK:
			do_mask(job, &op);
			break;
		case ROOT_OP_READONLY:
			do_readonly(job, &op);
			break;
		case ROOT_OP_HOOK:
			hook_run(job, &op);
			break;
		default:
			fail("plan", EBADMSG, "operation %u", op.kind);
		}
	}
}
