/* From a process that stands in all its namespaces to one that is about to be the user's. */
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "child/job.h"
#include "child/sys.h"

/* Nobody in a container that is joined may look into this process, which has the monitor's memory (CVE-2016-9962); and it
 * goes with the monitor. The socket tells whether the monitor died before the signal was asked for. */
void process_start(const struct job *job)
{
	struct pollfd monitor = {.fd = job->status};

	umask(0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		fail("process", errno, "prctl");
	if (poll(&monitor, 1, 0) > 0 && monitor.revents & POLLHUP)
		_exit(1);
}

/* /proc/self/fd/1 can be opened anew by the user only if the pipe is the user's. In a user namespace nobody here knows the
 * host's number of that user; but only who may look into /proc/PID/fd gets to a pipe at all, so its mode can be open. */
static void stdio_give(const struct job *job)
{
	const int fds[] = {job->in, job->out, job->err};

	for (size_t i = 0; i < 3; i++) {
		struct stat about;

		if (fds[i] < 0 || fstat(fds[i], &about) < 0 || !S_ISFIFO(about.st_mode))
			continue;
		if (job->userns ? fchmod(fds[i], 0666) : fchown(fds[i], job->process->uid, job->process->gid))
			fail("stdio", errno, "give stdio to user %u", job->process->uid);
	}
}

/* What the cloned process does first, with the host's rights and in the host's view. */
void process_begin(struct job *job, const int *keep, size_t count)
{
	report_to(job->status);
	close_all_but(keep, count);
	process_start(job);
	host_handles(job);
	if (job->cgroup->version == 1)
		cgroup_join_v1(job->cgroup);
	oom_score_adjust(job);
	stdio_give(job);
}

/* The container's own /dev/null, if that is what it says it is. */
static int null_inside(const struct job *job)
{
	int path = root_open(job->root, "/dev/null", O_PATH, RESOLVE_NO_SYMLINKS), fd = -1;
	struct stat about;

	if (path >= 0 && fstat(path, &about) == 0 && S_ISCHR(about.st_mode) && about.st_rdev == makedev(1, 3))
		fd = reopen(job, path, O_RDWR);
	if (path >= 0)
		close(path);
	return fd >= 0 ? fd : reopen(job, job->null, O_RDWR);
}

static void process_stdio(struct job *job)
{
	const int fds[] = {job->in, job->out, job->err};
	int null = -1;

	for (int i = 0; i < 3; i++) {
		int from = fds[i];

		if (from < 0)
			from = null = null < 0 ? null_inside(job) : null;
		if (dup2(from, i) < 0)
			fail("stdio", errno, "descriptor %d", i);
	}
}

static void keyring(const struct job *job)
{
	char name[300];
	long key;

	snprintf(name, sizeof name, "_ses.%s", job->container);
	key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0);
	if (key < 0 && errno != ENOSYS && errno != EPERM && errno != EDQUOT && errno != EACCES)
		fail("keyring", errno, "session keyring %s", name);
}

static int write_label(const struct job *job, const char *path, const char *value)
{
	int fd = sys_openat2(job->proc, path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_XDEV), failed;

	if (fd < 0)
		return -1;
	failed = write(fd, value, strlen(value)) < 0;
	close(fd);
	return failed ? -1 : 0;
}

/* Read back: a label that did not arrive where it should is a container without its confinement (CVE-2019-16884). */
static void check_label(const struct job *job, const char *path, const char *want)
{
	int fd = sys_openat2(job->proc, path, O_RDONLY, RESOLVE_BENEATH | RESOLVE_NO_XDEV);
	char got[4200];
	ssize_t length = fd < 0 ? -1 : read(fd, got, sizeof got - 1);

	if (length < 0)
		fail("label", errno, "read %s back", path);
	close(fd);
	got[length] = '\0';
	got[strcspn(got, "\n")] = '\0';
	/* AppArmor adds its mode: "name (enforce)". */
	if (strncmp(got, want, strlen(want)) != 0 || (got[strlen(want)] != '\0' && got[strlen(want)] != ' '))
		fail("label", EPERM, "%s says \"%.100s\" instead of \"%.100s\"", path, got, want);
}

static void labels(const struct job *job)
{
	const struct process_plan *plan = job->process;
	char self[24], path[64], value[4200];

	if (plan->apparmor[0] == '\0' && plan->selinux[0] == '\0')
		return;
	snprintf(self, sizeof self, "%d", pid_on_host(job));
	if (plan->selinux[0] != '\0') {
		snprintf(path, sizeof path, "%s/attr/exec", self);
		if (write_label(job, path, plan->selinux) < 0)
			fail("label", errno, "SELinux label %s", plan->selinux);
		check_label(job, path, plan->selinux);
	}
	if (plan->apparmor[0] != '\0') {
		snprintf(path, sizeof path, "%s/attr/apparmor/exec", self);
		snprintf(value, sizeof value, "exec %s", plan->apparmor);
		if (write_label(job, path, value) < 0) {
			snprintf(path, sizeof path, "%s/attr/exec", self); /* before 5.8 */
			if (errno != ENOENT || write_label(job, path, value) < 0)
				fail("label", errno, "AppArmor profile %s", plan->apparmor);
		}
		check_label(job, path, plan->apparmor);
	}
}

static void become_user(const struct process_plan *plan)
{
	static uint32_t groups[PLAN_MAX_GROUPS]; /* never touched in the monitor, so no memory of its */
	struct reader items = plan->groups.items;

	for (uint32_t i = 0; i < plan->groups.count; i++)
		groups[i] = take_u32(&items);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		fail("user", errno, "keep capabilities");
	/* Always, also for none: the monitor's own groups must not go along. */
	if (syscall(SYS_setgroups, (size_t)plan->groups.count, groups) < 0)
		fail("user", errno, "%u supplementary groups", plan->groups.count);
	if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) < 0)
		fail("user", errno, "group %u", plan->gid);
	if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) < 0)
		fail("user", errno, "user %u", plan->uid);
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		fail("user", errno, "stop keeping capabilities");
}

/* As root first, then as the user: root may not enter what only the user can (a root-squashed volume), and the other way
 * round. A directory outside the root (by a descriptor left open, CVE-2024-21626) has no absolute name. */
static void check_cwd(const struct process_plan *plan, int entered)
{
	char name[4096];

	if (entered < 0 && chdir(plan->cwd) < 0)
		fail("cwd", errno, "%s", plan->cwd);
	if (syscall(SYS_getcwd, name, sizeof name) < 0 || name[0] != '/')
		fail("cwd", errno == ENOENT || errno == 0 ? EPERM : errno, "%s is outside of the container", plan->cwd);
}

static void reset_signals(void)
{
	/* The kernel's own structure: glibc hides two signals that a parent may have left ignored all the same. */
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} usual = {.handler = SIG_DFL};
	uint64_t none = 0;

	for (int number = 1; number <= 64; number++)
		if (number != SIGKILL && number != SIGSTOP)
			syscall(SYS_rt_sigaction, number, &usual, NULL, sizeof usual.mask);
	if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none) < 0)
		fail("signals", errno, "signal mask");
}

/* All that a process inherits from the one that makes it: an exec is given it before anybody in the container can see it. */
void process_dress(struct job *job)
{
	const struct process_plan *plan = job->process;
	const int keep[] = {job->status, job->terminal};
	int entered;

	keyring(job);
	labels(job);
	process_stdio(job);
	close_all_but(keep, 2);
	entered = chdir(plan->cwd);
	if (entered < 0 && errno != EACCES)
		fail("cwd", errno, "%s", plan->cwd);
	rlimits_set(plan);
	capabilities_bound(plan);
	become_user(plan);
	/* A change of user makes it what fs.suid_dumpable says. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		fail("process", errno, "prctl");
	check_cwd(plan, entered);
	/* Loading a filter without no_new_privs needs CAP_SYS_ADMIN; command_run takes it away last. */
	capabilities_set(plan, command_needs_admin(plan) ? UINT64_C(1) << CAP_SYS_ADMIN : 0);
	reset_signals();
}

/* What each process does for itself. Ends with one that needs nothing more from anybody but the word to go. */
void process_settle(const struct job *job)
{
	umask(job->process->umask);
	if (job->terminal >= 0 && ioctl(0, TIOCSCTTY, 0) < 0)
		fail("terminal", errno, "make it the controlling terminal");
	/* The monitor's end must not be the container's. */
	if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
		fail("process", errno, "prctl");
}
