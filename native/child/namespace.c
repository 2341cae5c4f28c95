#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "child/job.h"
#include "child/sys.h"

/* The host's /proc and /dev/null as they are before anything of a container can be in the way (CVE-2025-52881). */
void host_handles(struct job *job)
{
	struct statfs fs;
	struct stat about;

	job->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (job->proc < 0 || fstatfs(job->proc, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		fail("process", job->proc < 0 ? errno : ENODEV, "the host's /proc");
	job->null = open("/dev/null", O_PATH | O_CLOEXEC);
	if (job->null < 0 || fstat(job->null, &about) < 0 || !S_ISCHR(about.st_mode) || about.st_rdev != makedev(1, 3))
		fail("process", job->null < 0 ? errno : ENODEV, "the host's /dev/null");
}

/* Opens anew what an O_PATH fd stands for, so that what was verified is what gets opened. */
int reopen(const struct job *job, int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof path, "self/fd/%d", fd);
	return openat(job->proc, path, flags | O_CLOEXEC);
}

/* A child of our own parent, the monitor; it then signals its end as we would. 0 in the new process. */
pid_t clone_sibling(uint64_t flags)
{
	struct clone_args args = {.flags = flags | CLONE_PARENT};
	pid_t pid = sys_clone3(&args);

	if (pid < 0)
		fail("clone", errno, "namespaces %#llx", (unsigned long long)flags);
	return pid;
}

static void join(int fd, int kind, const char *name)
{
	if (fd < 0)
		fail("namespace", EBADF, "the pod has no %s namespace of its own", name);
	/* The kernel checks that the fd is of this kind. */
	if (sys_setns(fd, kind) < 0)
		fail("namespace", errno, "join the pod's %s namespace", name);
}

void namespaces_join_pod(struct job *job)
{
	const struct namespaces *plan = &job->launch->namespaces;

	if (plan->network == CHOICE_POD)
		join(job->ns.net, CLONE_NEWNET, "network");
	if (plan->ipc == CHOICE_POD)
		join(job->ns.ipc, CLONE_NEWIPC, "ipc");
	if (plan->uts == CHOICE_POD)
		join(job->ns.uts, CLONE_NEWUTS, "uts");
}

/* After joining a user namespace one has its capabilities but still the host's ids, which nothing in it knows. */
void namespaces_become_root(void)
{
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		fail("namespace", errno, "become root of the pod's user namespace");
}

/* Everything else that the monitor has open is none of this process's business; and while a created container waits for its
 * start, it would keep other containers' pipes from ever ending. */
void close_all_but(const int *keep, size_t count)
{
	int sorted[32];
	size_t n = 0;
	unsigned int next = 3;

	for (size_t i = 0; i < count && n < sizeof sorted / sizeof *sorted; i++) {
		size_t at = n;

		if (keep[i] < 3)
			continue;
		while (at > 0 && sorted[at - 1] > keep[i]) {
			sorted[at] = sorted[at - 1];
			at--;
		}
		sorted[at] = keep[i];
		n++;
	}
	for (size_t i = 0; i <= n; i++) {
		unsigned int until = i < n ? (unsigned int)sorted[i] : ~0U;

		if (until > next && syscall(SYS_close_range, next, i < n ? until - 1 : until, 0) < 0)
			fail("descriptors", errno, "close_range");
		if (i < n)
			next = until + 1;
	}
}

/* The host's procfs knows this process by the host's number, whatever PID namespace it is in. */
pid_t pid_on_host(const struct job *job)
{
	char text[32];
	ssize_t length = readlinkat(job->proc, "self", text, sizeof text - 1);

	if (length <= 0)
		fail("namespace", length < 0 ? errno : EINVAL, "read /proc/self");
	text[length] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}
