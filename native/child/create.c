#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "child/job.h"
#include "child/sys.h"

struct ends {
	int status[2];
	int in[2], out[2], err[2]; /* [0] is read, [1] written */
};

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void shut_all(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		shut(&ends->status[i]);
		shut(&ends->in[i]);
		shut(&ends->out[i]);
		shut(&ends->err[i]);
	}
}

static int nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* Only the monitor's ends don't block: O_NONBLOCK belongs to an open file, and the container's ends are other files. */
static int open_ends(const struct launch_plan *plan, struct ends *ends)
{
	if (status_pair(ends->status) < 0 || nonblocking(ends->status[0]) < 0)
		return -1;
	if (plan->process.tty)
		return 0;
	if (plan->io.stdin_kept && (pipe2(ends->in, O_CLOEXEC) < 0 || nonblocking(ends->in[1]) < 0))
		return -1;
	if (pipe2(ends->out, O_CLOEXEC) < 0 || nonblocking(ends->out[0]) < 0 || pipe2(ends->err, O_CLOEXEC) < 0 ||
	    nonblocking(ends->err[0]) < 0)
		return -1;
	return 0;
}

/* The process that will be the container's init, in all its namespaces. */
static _Noreturn void become_init(struct job *job, int sibling)
{
	char word;

	if (sibling) {
		process_start(job);
		report_pid();
	}
	/* A new session also without a terminal: the monitor's is none of the container's. */
	if (setsid() < 0)
		fail("process", errno, "setsid");
	if (!job->userns) {
		namespaces_join_pod(job);
		sources_open(job);
	}
	rootfs_attach(job);
	rootfs_ops(job);
	if (job->process->tty) {
		terminal_open(job, job->root);
		terminal_console(job);
	}
	rootfs_enter(job);
	process_dress(job);
	process_settle(job);
	report_ready(job->terminal);
	shut(&job->terminal);
	if (read(job->status, &word, 1) != 1)
		_exit(1);
	command_run(job->process, 0);
}

static uint64_t namespace_flags(const struct namespaces *plan)
{
	return CLONE_NEWNS | (plan->pid == CHOICE_NEW ? CLONE_NEWPID : 0) | (plan->cgroup == CHOICE_NEW ? CLONE_NEWCGROUP : 0);
}

/* A time namespace takes its offsets only before anybody is in it. */
static void new_time(struct job *job)
{
	const struct namespaces *plan = &job->launch->namespaces;
	char text[128];
	int fd, length;

	if (plan->time != CHOICE_NEW)
		return;
	if (syscall(SYS_unshare, CLONE_NEWTIME) < 0)
		fail("namespace", errno, "a time namespace");
	length = snprintf(text, sizeof text, "monotonic %lld 0\nboottime %lld 0\n", (long long)plan->monotonic,
			  (long long)plan->boottime);
	fd = openat(job->proc, "self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)length) != length)
		fail("namespace", errno, "time offsets monotonic %lld, boottime %lld", (long long)plan->monotonic,
		     (long long)plan->boottime);
	close(fd);
}

static void join_pids(struct job *job)
{
	const struct namespaces *plan = &job->launch->namespaces;
	int fd = job->ns.pid;

	if (plan->pid != CHOICE_POD && plan->pid != CHOICE_JOIN)
		return;
	if (plan->pid == CHOICE_JOIN)
		fd = (int)syscall(SYS_pidfd_open, plan->join_pid, 0);
	if (fd < 0)
		fail("namespace", plan->pid == CHOICE_JOIN ? errno : EBADF, "the PID namespace to join (process %d)", plan->join_pid);
	if (sys_setns(fd, CLONE_NEWPID) < 0)
		fail("namespace", errno, "join the PID namespace (of process %d)", plan->join_pid);
}

/* A user, time or joined PID namespace holds only for children. So this process does what needs the host's rights, joins,
 * and makes the init as its sibling. */
static _Noreturn void be_intermediate(struct job *job)
{
	if (job->userns) {
		rlimits_raise(job->process);
		namespaces_join_pod(job);
		sources_open(job);
	}
	new_time(job);
	join_pids(job);
	if (job->userns) {
		if (sys_setns(job->ns.user, CLONE_NEWUSER) < 0)
			fail("namespace", errno, "join the pod's user namespace");
		namespaces_become_root();
	}
	if (clone_sibling(namespace_flags(&job->launch->namespaces)) == 0)
		become_init(job, 1);
	_exit(0);
}

static _Noreturn void run_child(struct job *job, int intermediate)
{
	const int keep[] = {job->status, job->in,     job->out,     job->err,    job->ns.net,
			    job->ns.ipc, job->ns.uts, job->ns.pid, job->ns.user};

	process_begin(job, keep, sizeof keep / sizeof *keep);
	/* Only now that it has joined: a cgroup namespace is rooted where its maker is. */
	if (job->cgroup->version == 1 && !intermediate && job->launch->namespaces.cgroup == CHOICE_NEW &&
	    syscall(SYS_unshare, CLONE_NEWCGROUP) < 0)
		fail("namespace", errno, "a cgroup namespace");
	if (intermediate)
		be_intermediate(job);
	become_init(job, 0);
}

static int needs_intermediate(const struct namespaces *plan)
{
	return plan->user == CHOICE_POD || plan->time == CHOICE_NEW || plan->pid == CHOICE_POD || plan->pid == CHOICE_JOIN;
}

static uint64_t clone_flags(const struct launch_plan *plan, int intermediate)
{
	uint64_t flags = namespace_flags(&plan->namespaces);

	if (intermediate)
		return plan->namespaces.user == CHOICE_POD ? CLONE_NEWNS : 0;
	return plan->cgroup.version == 1 ? flags & ~(uint64_t)CLONE_NEWCGROUP : flags;
}

static bool launch(struct job *job, struct ends *ends, int group, struct child *made, struct child_report *failed)
{
	int intermediate = needs_intermediate(&job->launch->namespaces), pidfd = -1;
	struct clone_args args = {
		.flags = CLONE_PIDFD | clone_flags(job->launch, intermediate) | (group >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = group >= 0 ? (uint64_t)group : 0,
	};
	pid_t pid = sys_clone3(&args);

	if (pid == 0)
		run_child(job, intermediate);
	if (pid < 0)
		return failure(failed, "clone", errno, "namespaces and cgroup (flags %#llx)", (unsigned long long)args.flags);
	made->pid = pid;
	made->pidfd = pidfd;
	made->intermediate = intermediate;
	made->status = ends->status[0];
	made->in = ends->in[1];
	made->out = ends->out[0];
	made->err = ends->err[0];
	ends->status[0] = ends->in[1] = ends->out[0] = ends->err[0] = -1;
	return true;
}

bool child_create(const struct pod_namespaces *ns, const struct launch_plan *plan, int device_program, struct child *made,
		  struct child_report *failed)
{
	struct ends ends = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
	struct job job = {.launch = plan, .process = &plan->process, .cgroup = &plan->cgroup, .ns = *ns, .terminal = -1};
	int group = -1;
	bool done;

	*made = NO_CHILD;
	job.container = plan->container;
	job.userns = plan->namespaces.user == CHOICE_POD;
	if (open_ends(plan, &ends) < 0)
		done = failure(failed, "stdio", errno, "pipes of container %s", plan->container);
	else
		done = cgroup_prepare(&plan->cgroup, device_program, &made->made_cgroups, &group, failed);
	if (done) {
		job.status = ends.status[1];
		job.in = ends.in[0];
		job.out = ends.out[1];
		job.err = ends.err[1];
		done = launch(&job, &ends, group, made, failed);
		if (!done)
			cgroup_discard(&plan->cgroup, made->made_cgroups);
	}
	if (group >= 0)
		close(group);
	shut_all(&ends);
	return done;
}
