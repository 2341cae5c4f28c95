#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/pod.h"

/* CVE-2022-0811: a value that smuggled in a second key. Here one key and one value are one open and one write. */

/* A proc of our own that nothing can have been mounted over; the host's where the kernel refuses one. */
static int private_proc(void)
{
	int fs = fsopen("proc", FSOPEN_CLOEXEC);
	if (fs >= 0 && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
		int mounted = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
		if (mounted >= 0)
			return mounted;
	}
	return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* "net.ipv4.ip_forward" and "net/ipv4/conf/eth0.1/rp_filter" are both in use: the first separator tells which it is. */
static void path_of(const char *key, char *path, size_t size)
{
	size_t at = 4;
	bool dots = key[strcspn(key, "./")] == '.';
	memcpy(path, "sys/", 5);
	for (; *key && at + 1 < size; key++)
		path[at++] = dots && *key == '.' ? '/' : dots && *key == '/' ? '.' : *key;
	path[at] = 0;
}

static int write_key(int proc, const char *key, const char *value)
{
	char path[512];
	struct open_how how = {.flags = O_WRONLY | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
	path_of(key, path, sizeof path);
	int fd = (int)syscall(SYS_openat2, proc, path, &how, sizeof how);
	if (fd < 0)
		return errno;
	ssize_t n = write(fd, value, strlen(value));
	int error = n < 0 ? errno : 0;
	close(fd);
	return error;
}

/* In a fork, for a process that has entered a user namespace can't come back. Tells the number of the key that failed. */
static void in_pod(struct reader *spec, uint32_t count, int answer) __attribute__((noreturn));
static void in_pod(struct reader *spec, uint32_t count, int answer)
{
	char key[256], value[1024];
	int result[2] = {0, 0}, proc = private_proc();
	const int fds[] = {pod.ns.net, pod.ns.ipc, pod.ns.uts}, kinds[] = {CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS};
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0 && setns(fds[i], kinds[i]) < 0)
			result[0] = errno;
	bool inside = false;
	for (uint32_t i = 0; i < count && !result[0]; i++) {
		take_text(spec, key, sizeof key);
		take_text(spec, value, sizeof value);
		/* user.* counts for the user namespace of whoever writes it. The validated spec lists it last. */
		if (strncmp(key, "user", 4) == 0 && (key[4] == '.' || key[4] == '/') && pod.ns.user >= 0 && !inside) {
			inside = setns(pod.ns.user, CLONE_NEWUSER) == 0;
			result[0] = inside ? 0 : errno;
		}
		if (!result[0])
			result[0] = write_key(proc, key, value);
		result[1] = (int)i;
	}
	_exit(!write_all(answer, result, sizeof result));
}

/* u32 count, then key and value of each. */
bool sysctls_write(struct reader *spec, struct child_report *failed)
{
	uint32_t count = take_u32(spec);
	struct reader child = *spec;
	char key[256] = "", value[1024];
	for (uint32_t i = 0; i < count && !spec->bad; i++) {
		take_text(spec, key, sizeof key);
		take_text(spec, value, sizeof value);
	}
	if (spec->bad)
		return failure(failed, EBADMSG, "spec", "sysctls are malformed");
	if (count == 0)
		return true;
	int answer[2], result[2] = {ECHILD, 0};
	if (pipe2(answer, O_CLOEXEC) < 0)
		return failure(failed, errno, "sysctl", "pipe2");
	pid_t pid = fork();
	if (pid == 0)
		in_pod(&child, count, answer[1]);
	close(answer[1]);
	if (read_all(answer[0], result, sizeof result) != sizeof result)
		result[0] = ECHILD;
	close(answer[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	for (int i = 0; i <= result[1]; i++) {
		take_text(&child, key, sizeof key);
		take_text(&child, value, sizeof value);
	}
	return result[0] == 0 || failure(failed, result[0], "sysctl", "%s = %s", key, value);
}
