#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include "child/job.h"
#include "child/sys.h"
#include "monitor/pod.h"

/* CVE-2022-0811: a value that smuggled in a second key. Here one key and one value are one open and one write. */

#define SYSCTLS 1024

struct sysctl {
	const char *key, *path, *value; /* as it was asked for; below /proc/sys */
	uint8_t of_user; /* user.* counts for the user namespace of whoever writes it; the spec lists those last */
};

static struct sysctl take_sysctl(struct reader *r)
{
	const char *key = take_text(r), *path = take_text(r), *value = take_text(r);
	return (struct sysctl){key, path, value, take_u8(r, 1)};
}

static void skip_sysctl(struct reader *r)
{
	take_sysctl(r);
}

/* A proc of our own that nothing can have been mounted over; the host's where the kernel refuses one. */
static int private_proc(void)
{
	int fs = fsopen("proc", FSOPEN_CLOEXEC);
	if (fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
		int mounted = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
		if (mounted >= 0)
			return openat(mounted, "sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void enter(int fd, int kind)
{
	if (fd >= 0 && sys_setns(fd, kind) < 0)
		fail("namespace", errno, "enter the pod's, for its sysctls");
}

/* In a fork, for a process that has entered a user namespace can't come back. */
static void in_pod(void *list)
{
	const struct list *all = list;
	struct reader items = all->items;
	int sys = private_proc();
	enter(pod.ns.net, CLONE_NEWNET);
	enter(pod.ns.ipc, CLONE_NEWIPC);
	enter(pod.ns.uts, CLONE_NEWUTS);
	bool inside = false;
	for (uint32_t i = 0; i < all->count; i++) {
		struct sysctl one = take_sysctl(&items);
		if (one.of_user && !inside)
			enter(pod.ns.user, CLONE_NEWUSER);
		inside |= one.of_user;
		int fd = sys_openat2(sys, one.path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
		if (fd < 0 || write(fd, one.value, strlen(one.value)) < 0)
			fail("sysctl", errno, "%s = %s", one.key, one.value);
		close(fd);
	}
}

/* u32 count, then key, path and value of each, and u8 whether it is the user namespace's. */
bool sysctls_write(struct reader *spec, struct child_report *failed)
{
	struct list all = take_list(spec, SYSCTLS, skip_sysctl);
	if (spec->bad)
		return failure(failed, "spec", EBADMSG, "sysctls are malformed");
	return all.count == 0 || in_fork(in_pod, &all, failed);
}
