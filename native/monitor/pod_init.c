#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "common/ops.gen.h"
#include "init/init.h"
#include "monitor/pod.h"

#define GROUPS 32

static char *made[GROUPS];
static int made_count;

/* u32 cgroup version (0: none) | u32 count, directories to make | u32 count, {path, value, u32 optional} | u32 count,
 * directories to join. Leaves the reader at the latter. */
static bool groups_make(struct reader *spec, struct child_report *failed)
{
	static char paths[GROUPS][512];
	char path[PATH_MAX], value[1024];
	for (uint32_t count = take_u32(spec); count > 0 && !spec->bad; count--) {
		take_text(spec, path, sizeof path);
		if (mkdir(path, 0755) < 0) {
			if (errno != EEXIST)
				return failure(failed, errno, "cgroup", "%s", path);
		} else if (made_count < GROUPS && strlen(path) < sizeof paths[0]) {
			strcpy(paths[made_count], path);
			made[made_count] = paths[made_count];
			made_count++;
		}
	}
	for (uint32_t count = take_u32(spec); count > 0 && !spec->bad; count--) {
		take_text(spec, path, sizeof path);
		take_text(spec, value, sizeof value);
		uint32_t optional = take_u32(spec);
		if (!spec->bad && !write_file(path, value, strlen(value)) && !optional)
			return failure(failed, errno, "cgroup", "%s = %s", path, value);
	}
	return !spec->bad || failure(failed, EBADMSG, "spec", "cgroup is malformed");
}

void pod_init_discard(void)
{
	while (made_count > 0) {
		made_count--;
		/* Just after its last process was reaped a group may be busy for a moment. */
		for (int i = 0; i < 50 && rmdir(made[made_count]) < 0 && errno == EBUSY; i++)
			usleep(2000);
	}
}

/* In the clone. On v1 it joins by itself: a process that writes 0 to `tasks` takes no lock of the whole machine. */
static void first(struct reader *spec, uint32_t version, int ready) __attribute__((noreturn));
static void first(struct reader *spec, uint32_t version, int ready)
{
	char dir[PATH_MAX - 8], tasks[PATH_MAX];
	for (uint32_t count = take_u32(spec); count > 0 && version == 1; count--) {
		take_text(spec, dir, sizeof dir);
		snprintf(tasks, sizeof tasks, "%s/tasks", dir);
		if (!write_file(tasks, "0", 1)) {
			int error = errno;
			_exit(!write_all(ready, &error, sizeof error));
		}
	}
	init_run(ready, pod.dir);
}

static pid_t clone_init(struct reader *spec, uint32_t version, int group, int ready, uint64_t flags)
{
	struct clone_args args = {
		.flags = CLONE_NEWPID | flags | (group >= 0 ? CLONE_INTO_CGROUP : 0),
		.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
		.cgroup = group >= 0 ? (uint64_t)group : 0,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		first(spec, version, ready);
	return pid;
}

/* The PID namespace has to belong to the pod's user namespace, so a helper goes there and makes our child from inside. */
static pid_t clone_in_userns(struct reader *spec, uint32_t version, int group, int ready)
{
	int told[2];
	pid_t pid = -1;
	if (pipe2(told, O_CLOEXEC) < 0)
		return -1;
	pid_t helper = fork();
	if (helper == 0) {
		if (setns(pod.ns.user, CLONE_NEWUSER) == 0)
			pid = clone_init(spec, version, group, ready, CLONE_PARENT);
		_exit(!write_all(told[1], &pid, sizeof pid));
	}
	close(told[1]);
	if (read_all(told[0], &pid, sizeof pid) != sizeof pid)
		pid = -1;
	close(told[0]);
	if (helper > 0)
		waitpid(helper, NULL, 0);
	return pid;
}

bool pod_init_start(struct reader *spec, struct child_report *failed)
{
	int ready[2], error = 0, group = -1;
	char path[PATH_MAX];
	uint32_t version = take_u32(spec);
	if (!groups_make(spec, failed))
		return false;
	if (version == 2) {
		struct reader look = *spec;
		take_u32(&look);
		take_text(&look, path, sizeof path);
		group = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (look.bad || group < 0)
			return failure(failed, errno, "cgroup", "%s", path);
	}
	if (pipe2(ready, O_CLOEXEC) < 0)
		return failure(failed, errno, "init", "pipe2");
	pid_t pid = pod.ns.user >= 0 ? clone_in_userns(spec, version, group, ready[1]) : clone_init(spec, version, group, ready[1], 0);
	if (pid < 0)
		error = errno;
	close(ready[1]);
	close(group);
	if (!error && read_all(ready[0], &error, sizeof error) != sizeof error)
		error = ECHILD;
	close(ready[0]);
	pod.init = pid > 0 ? pid : 0;
	if (error)
		return failure(failed, error, "init", "process 1 of the pod");
	snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
	pod.ns.pid = open(path, O_RDONLY | O_CLOEXEC);
	return pod.ns.pid >= 0 || failure(failed, errno, "init", "%s", path);
}
