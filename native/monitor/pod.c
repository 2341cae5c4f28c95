#include "monitor/pod.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "common/ops.gen.h"

struct pod pod = {.ns = {-1, -1, -1, -1, -1}, .socket = -1};
static bool pinned, shm_mounted;

bool loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	close(fd);
	return up;
}

bool namespaces_make(uint32_t flags, struct child_report *failed)
{
	static const struct {
		uint32_t flag;
		int type;
		const char *path;
		int *fd;
	} kinds[] = {
		{SPEC_FLAG_NEW_NET, CLONE_NEWNET, "/proc/self/ns/net", &pod.ns.net},
		{SPEC_FLAG_NEW_IPC, CLONE_NEWIPC, "/proc/self/ns/ipc", &pod.ns.ipc},
		{SPEC_FLAG_NEW_UTS, CLONE_NEWUTS, "/proc/self/ns/uts", &pod.ns.uts},
	};
	for (unsigned i = 0; i < 3; i++) {
		if (!(flags & kinds[i].flag) || *kinds[i].fd >= 0)
			continue;
		int host = open(kinds[i].path, O_RDONLY | O_CLOEXEC);
		if (host < 0 || unshare(kinds[i].type) < 0)
			return failure(failed, "namespace", errno, "%s", kinds[i].path);
		*kinds[i].fd = open(kinds[i].path, O_RDONLY | O_CLOEXEC);
		bool up = kinds[i].type != CLONE_NEWNET || loopback_up();
		int error = errno;
		/* In the wrong namespace we are of no use to anybody. */
		if (setns(host, kinds[i].type) < 0)
			die("namespace", "can't return to the host's %s", kinds[i].path);
		close(host);
		if (*kinds[i].fd < 0 || !up)
			return failure(failed, "namespace", error, "loopback of %s", kinds[i].path);
	}
	return true;
}

/* What the pool made and this pod does not want. */
static void namespaces_trim(uint32_t flags)
{
	int *fds[] = {&pod.ns.net, &pod.ns.ipc, &pod.ns.uts};
	const uint32_t bits[] = {SPEC_FLAG_NEW_NET, SPEC_FLAG_NEW_IPC, SPEC_FLAG_NEW_UTS};
	for (unsigned i = 0; i < 3; i++)
		if (*fds[i] >= 0 && !(flags & bits[i])) {
			close(*fds[i]);
			*fds[i] = -1;
		}
}

static bool hostname_set(const char *name, struct child_report *failed)
{
	if (!name[0])
		return true;
	if (pod.ns.uts < 0)
		return failure(failed, "hostname", EINVAL, "the host's own is not ours to change");
	int host = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	if (host < 0 || setns(pod.ns.uts, CLONE_NEWUTS) < 0)
		return failure(failed, "hostname", errno, "%s", name);
	int set = sethostname(name, strlen(name)), error = errno;
	if (setns(host, CLONE_NEWUTS) < 0)
		die("hostname", "can't return to the host's UTS namespace");
	close(host);
	return set == 0 || failure(failed, "hostname", error, "%s", name);
}

static bool netns_pin(struct child_report *failed)
{
	char self[64];
	if (!pod.netns_path[0])
		return true;
	int fd = open(pod.netns_path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);
	if (fd < 0)
		return failure(failed, "netns", errno, "%s", pod.netns_path);
	close(fd);
	pinned = true;
	snprintf(self, sizeof self, "/proc/self/fd/%d", pod.ns.net);
	if (mount(self, pod.netns_path, NULL, MS_BIND, NULL) < 0)
		return failure(failed, "netns", errno, "%s", pod.netns_path);
	return true;
}

static bool shm_mount(const char *options, struct child_report *failed)
{
	if (!pod.shm_path[0])
		return true;
	if (mount("shm", pod.shm_path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return failure(failed, "shm", errno, "%s", pod.shm_path);
	shm_mounted = true;
	return true;
}

/* By way of the directory's fd, for a socket's path has room for 107 bytes only. */
static bool socket_open(struct child_report *failed)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int dir = open(pod.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	pod.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dir < 0 || pod.socket < 0)
		return failure(failed, "socket", errno, "%s", pod.dir);
	snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/monitor.sock", dir);
	mode_t before = umask(0177);
	bool bound = bind(pod.socket, (struct sockaddr *)&address, sizeof address) == 0 && listen(pod.socket, 4096) == 0;
	int error = errno;
	umask(before);
	if (bound) {
		int log = openat(dir, "monitor.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (log >= 0)
			dup2(log, STDERR_FILENO);
		close(log);
	}
	close(dir);
	return bound || failure(failed, "socket", error, "%s/monitor.sock", pod.dir);
}

static const char *keep(char **at, const char *path)
{
	const char *kept = *at;
	*at = stpcpy(*at, path) + 1;
	return kept;
}

/* u32 flags | text sandbox, dir, netns path, shm path, hostname, shm options | the parts of userns.c, sysctl.c, pod_init.c, in
 * this order. */
bool pod_make(struct reader *spec, struct child_report *failed)
{
	char *at = pod.texts;
	const size_t most = sizeof pod.texts / 3 - 1;
	uint32_t flags = take_u32(spec);
	const char *sandbox = take_short(spec, 127);
	pod.dir = keep(&at, take_short(spec, most));
	pod.netns_path = keep(&at, take_short(spec, most));
	pod.shm_path = keep(&at, take_short(spec, most));
	const char *hostname = take_short(spec, 255), *shm_options = take_text(spec);
	if (spec->bad)
		return failure(failed, "spec", EBADMSG, "malformed");
	set_title("berth-monitor", sandbox);
	namespaces_trim(flags);
	bool made = socket_open(failed) && userns_make(spec, flags, failed) && namespaces_make(flags, failed) &&
		    hostname_set(hostname, failed) && sysctls_write(spec, failed) && netns_pin(failed) &&
		    shm_mount(shm_options, failed);
	if (made && (flags & SPEC_FLAG_PID_INIT))
		made = pod_init_start(spec, failed);
	if (made && spec->bad)
		made = failure(failed, "spec", EBADMSG, "malformed");
	if (!made)
		pod_unmake();
	return made;
}

void pod_unmake(void)
{
	if (pod.init > 0) {
		kill(pod.init, SIGKILL);
		waitpid(pod.init, NULL, 0);
		pod.init = 0;
	}
	pod_init_discard();
	/* What somebody else still uses goes when they let go of it. */
	if (shm_mounted && umount2(pod.shm_path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		warn("shm", errno, "%s", pod.shm_path);
	if (pinned) {
		umount2(pod.netns_path, MNT_DETACH | UMOUNT_NOFOLLOW);
		if (unlink(pod.netns_path) < 0 && errno != ENOENT)
			warn("netns", errno, "%s", pod.netns_path);
	}
	shm_mounted = pinned = false;
	if (pod.socket >= 0) {
		int dir = open(pod.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		unlinkat(dir, "monitor.sock", 0);
		close(dir);
		close(pod.socket);
	}
	pod.socket = -1;
}
