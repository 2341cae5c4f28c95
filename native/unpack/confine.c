#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What unpacking takes: owners, modes, devices, file capabilities, and trusted.overlay.opaque (CAP_SYS_ADMIN). */
#define KEPT_CAPABILITIES                                                                                     \
	(1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_FOWNER | 1ULL << CAP_FSETID | 1ULL << CAP_MKNOD | \
	 1ULL << CAP_SETFCAP | 1ULL << CAP_SYS_ADMIN)

/* Stacks the old root over the new one and lets it go (pivot_root(2), "pivot_root(".", ".")"). */
static void pivot_here(void) {
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		fail("confine", errno, "pivot_root");
}

static void bind_as(const char *from, const char *to) {
	if (mkdir(to, 0700) < 0 || mount(from, to, NULL, MS_BIND, NULL) < 0)
		fail("confine", errno, "%s", from);
}

void confine_service(const char *images, const char *layers) {
	/* Holding the host's mounts would keep alive what it unmounts: nothing but the two directories may stay. */
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		fail("confine", errno, "unshare");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		fail("confine", errno, "make mounts private");
	/* Any directory that surely exists can carry the new root; it is hidden by nothing that is needed before the pivot. */
	if (mount("tmpfs", "/proc", "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC, "mode=0700,size=64k") < 0)
		fail("confine", errno, "tmpfs");
	bind_as(images, "/proc/images");
	bind_as(layers, "/proc/layers");
	if (mkdir("/proc/empty", 0700) < 0 || chdir("/proc") < 0)
		fail("confine", errno, "chdir");
	pivot_here();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL) < 0)
		fail("confine", errno, "remount");
}

static void drop_capabilities(void) {
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
	struct __user_cap_data_struct data[2], kept[2] = {0};

	for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (!(KEPT_CAPABILITIES >> capability & 1) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
			fail("confine", errno, "drop capability %d", capability);
	if (syscall(SYS_capget, &header, data) < 0)
		fail("confine", errno, "capget");
	for (int i = 0; i < 2; i++)
		kept[i].permitted = kept[i].effective = data[i].permitted & (uint32_t)(KEPT_CAPABILITIES >> (32 * i));
	if (syscall(SYS_capset, &header, kept) < 0)
		fail("confine", errno, "capset");
}

void confine_apart(void) {
	if (unshare(CLONE_NEWNS) < 0)
		fail("confine", errno, "unshare");
}

void confine_worker(int directory) {
#ifdef __SANITIZE_ADDRESS__
	/* Its shadow memory alone is terabytes of addresses. */
	const struct rlimit memory = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
#else
	/* Enough for a million directories' times; a layer that wants more memory than that is an attack. */
	const struct rlimit memory = {.rlim_cur = 1UL << 30, .rlim_max = 1UL << 30};
#endif

	int tree = (int)syscall(SYS_open_tree, directory, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		fail("confine", errno, "open_tree");
	if (syscall(SYS_move_mount, tree, "", directory, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		fail("confine", errno, "move_mount");
	if (fchdir(tree) < 0)
		fail("confine", errno, "chdir");
	pivot_here();
	close(tree);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_AS, &memory) < 0)
		fail("confine", errno, "limits");
	drop_capabilities();
}
