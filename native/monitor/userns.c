#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "common/ops.gen.h"
#include "monitor/pod.h"

/* In the forked helper: the namespaces that belong to the new user namespace have to be made inside it, or its root
 * couldn't mount sysfs or change its own network. */
static _Noreturn void helper(int sync, uint32_t flags)
{
	char byte = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWUSER) < 0)
		byte = (char)errno;
	if (!write_all(sync, &byte, 1) || byte || read(sync, &byte, 1) != 1)
		_exit(1);
	int kinds = (flags & SPEC_FLAG_NEW_NET ? CLONE_NEWNET : 0) | (flags & SPEC_FLAG_NEW_IPC ? CLONE_NEWIPC : 0) |
		    (flags & SPEC_FLAG_NEW_UTS ? CLONE_NEWUTS : 0);
	byte = unshare(kinds) == 0 && (!(flags & SPEC_FLAG_NEW_NET) || loopback_up()) ? 0 : (char)errno;
	if (!write_all(sync, &byte, 1))
		_exit(1);
	for (;;)
		pause();
}

static int open_of(pid_t pid, const char *what)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool write_map(pid_t pid, const char *which, const char *map)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, which);
	return write_file(path, map, strlen(map));
}

static bool with_helper(pid_t pid, int sync, uint32_t flags, const char *uids, const char *gids, struct child_report *failed)
{
	char byte;
	if (read(sync, &byte, 1) != 1 || byte)
		return failure(failed, "userns", byte ? byte : ECHILD, "no user namespace");
	if (!write_map(pid, "uid_map", uids) || !write_map(pid, "gid_map", gids))
		return failure(failed, "userns", errno, "uid and gid map");
	pod.ns.user = open_of(pid, "ns/user");
	if (pod.ns.user < 0 || !write_all(sync, "", 1) || read(sync, &byte, 1) != 1 || byte)
		return failure(failed, "userns", byte ? byte : errno, "namespaces inside the user namespace");
	pod.ns.net = flags & SPEC_FLAG_NEW_NET ? open_of(pid, "ns/net") : -1;
	pod.ns.ipc = flags & SPEC_FLAG_NEW_IPC ? open_of(pid, "ns/ipc") : -1;
	pod.ns.uts = flags & SPEC_FLAG_NEW_UTS ? open_of(pid, "ns/uts") : -1;
	return true;
}

/* Text of uid_map, text of gid_map. Nothing without SPEC_FLAG_USERNS. */
bool userns_make(struct reader *spec, uint32_t flags, struct child_report *failed)
{
	int sync[2];
	if (!(flags & SPEC_FLAG_USERNS))
		return true;
	const char *uids = take_text(spec), *gids = take_text(spec);
	if (spec->bad)
		return failure(failed, "spec", EBADMSG, "id map is malformed");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sync) < 0)
		return failure(failed, "userns", errno, "socketpair");
	pid_t pid = fork();
	if (pid == 0) {
		close(sync[0]);
		helper(sync[1], flags);
	}
	close(sync[1]);
	bool made = pid < 0 ? failure(failed, "userns", errno, "fork") : with_helper(pid, sync[0], flags, uids, gids, failed);
	close(sync[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return made;
}
