#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "child/job.h"
#include "child/sys.h"
#include "common/buffer.h"
#include "init/init.h"
#include "monitor/pod.h"

static struct cgroup_plan groups;
static uint64_t made_groups;
static int group = -1; /* v2's, to be born in */
static int ready[2];

void pod_init_discard(void)
{
	cgroup_discard(&groups, made_groups);
	made_groups = 0;
}

/* In a fork: the PID namespace has to belong to the pod's user namespace, and who has gone there can't come back. What is made
 * from inside is the monitor's child. */
static void clone_init(void *with)
{
	(void)with;
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_PARENT | (group >= 0 ? CLONE_INTO_CGROUP : 0),
		.cgroup = group >= 0 ? (uint64_t)group : 0,
	};
	if (pod.ns.user >= 0 && sys_setns(pod.ns.user, CLONE_NEWUSER) < 0)
		fail("init", errno, "enter the pod's user namespace");
	pid_t pid = sys_clone3(&args);
	if (pid < 0)
		fail("init", errno, "process 1 of the pod");
	if (pid > 0)
		return;
	report_to(ready[1]);
	if (groups.version == 1)
		cgroup_join_v1(&groups);
	init_run(pod.dir);
}

/* u8 whether it has groups of its own | their plan. */
bool pod_init_start(struct reader *spec, struct child_report *failed)
{
	struct child_report report;
	char path[64];
	bool has_groups = take_u8(spec, 1);
	/* Kept, for its groups have to be removed in the end. */
	uint8_t *kept = pages_get(spec->left + 1);
	if (!kept)
		return failure(failed, "init", ENOMEM, "no memory");
	memcpy(kept, spec->at, spec->left);
	struct reader plan = {kept, spec->left, spec->bad};
	if (has_groups)
		plan_take_cgroup(&plan, &groups);
	if (plan.bad)
		return failure(failed, "spec", EBADMSG, "cgroup is malformed");
	if (!cgroup_prepare(&groups, -1, &made_groups, &group, failed))
		return false;
	if (status_pair(ready) < 0)
		return failure(failed, "init", errno, "socketpair");
	bool made = in_fork(clone_init, NULL, failed);
	close(ready[1]);
	if (group >= 0)
		close(group);
	bool said = made && hear(ready[0], &report);
	close(ready[0]);
	if (!said)
		return made && failure(failed, "init", ECHILD, "process 1 of the pod");
	pod.init = report.pid;
	*failed = report;
	if (report.kind != CHILD_READY)
		return false;
	snprintf(path, sizeof path, "/proc/%d/ns/pid", pod.init);
	pod.ns.pid = open(path, O_RDONLY | O_CLOEXEC);
	return pod.ns.pid >= 0 || failure(failed, "init", errno, "%s", path);
}
