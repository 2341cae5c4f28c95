/* System calls that glibc 2.36 has no function for, or whose function does more than the call. */
#ifndef BERTH_CHILD_SYS_H
#define BERTH_CHILD_SYS_H
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static inline pid_t sys_clone3(struct clone_args *args)
{
	return (pid_t)syscall(SYS_clone3, args, sizeof *args);
}

static inline int sys_openat2(int at, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

	return (int)syscall(SYS_openat2, at, path, &how, sizeof how);
}

static inline int sys_setns(int fd, int kind)
{
	return (int)syscall(SYS_setns, fd, kind);
}

static inline int sys_pivot_root(const char *new_root, const char *old)
{
	return (int)syscall(SYS_pivot_root, new_root, old);
}

/* An fd of a copy of the mount (or the tree of mounts) at `at`/`path`; `flags`: AT_RECURSIVE, AT_EMPTY_PATH. */
static inline int sys_copy_tree(int at, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

static inline int sys_attach(int tree, int target)
{
	return (int)syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static inline int sys_attach_at(int tree, const char *target)
{
	return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

static inline int sys_set_mount(int tree, int recursive, struct mount_attr *attr)
{
	return (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), attr, sizeof *attr);
}

#endif
