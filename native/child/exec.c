#include <linux/capability.h>
#include <signal.h>

#include "child/job.h"
#include "child/sys.h"
#include "common/io.h"

/* The container can see this process, and one with CAP_SYS_PTRACE can take it over. By now it has nothing that its container
 * has not: no descriptor of the host, no other user or capability. */
static _Noreturn void become_process(struct job *job, int is_confined)
{
	process_start(job);
	report_pid();
	if (setsid() < 0)
		fail("process", errno, "setsid");
	process_settle(job);
	report_ready(job->terminal);
	if (job->terminal >= 0)
		close(job->terminal);
	command_run(job->process, is_confined);
}

/* All of the init's namespaces at once; what is the monitor's own anyway is joined too, which changes nothing. Only the
 * user namespace may not be joined twice. */
static void join_container(struct job *job)
{
	int kinds = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
		    (job->userns ? CLONE_NEWUSER : 0);

	/* EINVAL: a kernel without time namespaces. */
	if (sys_setns(job->init_pidfd, kinds | CLONE_NEWTIME) < 0 && (errno != EINVAL || sys_setns(job->init_pidfd, kinds) < 0))
		fail("namespace", errno, "join the namespaces of process %d", job->init);
	if (job->userns)
		namespaces_become_root();
}

/* Loading a filter takes CAP_SYS_ADMIN as a rule, which a container that may trace must not find. A filter that would not let
 * the process be made after it has to be loaded by that process itself all the same. */
static int confine_early(const struct job *job)
{
	if (!(job->process->bounding & UINT64_C(1) << CAP_SYS_PTRACE) || !filter_lets_exec_go_on(job->process))
		return 0;
	command_confine(job->process);
	return 1;
}

static _Noreturn void be_exec_intermediate(struct job *job)
{
	const int keep[] = {job->status, job->in, job->out, job->err, job->init_pidfd};
	int is_confined;
	long pid;

	process_begin(job, keep, sizeof keep / sizeof *keep);
	if (job->userns)
		rlimits_raise(job->process);
	join_container(job);
	job->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (job->root < 0)
		fail("rootfs", errno, "open /");
	if (job->process->tty)
		terminal_open(job, job->root);
	process_dress(job);
	is_confined = confine_early(job);
	/* Not clone3: filters refuse it, as they can't see its flags. */
	pid = syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0);
	if (pid == 0)
		become_process(job, is_confined);
	if (pid < 0)
		fail("clone", errno, "the process of an exec");
	_exit(0);
}

/* EBUSY: the group has groups below it, as a systemd in the container makes them; its init is then in one of those. */
static pid_t clone_into(struct clone_args *args, const struct job *job)
{
	struct reader items = job->cgroup->join.items;
	int group;
	pid_t pid;

	if (job->cgroup->version == 1)
		return sys_clone3(args);
	args->flags |= CLONE_INTO_CGROUP;
	group = cgroup_open_for_exec(job->cgroup);
	for (int tries = 0; group >= 0; tries++) {
		args->cgroup = (uint64_t)group;
		pid = sys_clone3(args);
		if (pid == 0)
			return 0;
		close_calmly(group);
		if (pid > 0 || tries > 0 || (errno != EBUSY && errno != EOPNOTSUPP))
			return pid;
		group = cgroup_open_of(job->init, take_text(&items));
	}
	return -1;
}

bool child_exec(const struct pod_namespaces *ns, pid_t init, int init_pidfd, const struct exec_plan *plan,
	       const struct child_stdio *stdio, struct child *made, struct child_report *failed)
{
	struct job job = {.process = &plan->process, .cgroup = &plan->cgroup, .ns = *ns, .terminal = -1};
	int status[2], pidfd = -1, tty = plan->process.tty;
	struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};

	*made = NO_CHILD;
	made->intermediate = 1;
	if (status_pair(status) < 0)
		return failure(failed, "stdio", errno, "socket for an exec in %s", plan->container);
	job.container = plan->container;
	job.init = init;
	job.init_pidfd = init_pidfd;
	job.userns = ns->user >= 0;
	job.status = status[1];
	job.in = tty ? -1 : stdio->in;
	job.out = tty ? -1 : stdio->out;
	job.err = tty ? -1 : stdio->err;
	made->pid = clone_into(&args, &job);
	if (made->pid == 0)
		be_exec_intermediate(&job);
	if (made->pid < 0) {
		failure(failed, "clone", errno, "into the cgroup of container %s", plan->container);
		close(status[0]);
		close(status[1]);
		return false;
	}
	close(status[1]);
	fcntl(status[0], F_SETFL, O_NONBLOCK);
	made->pidfd = pidfd;
	made->status = status[0];
	return true;
}
