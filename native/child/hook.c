/* Programs of the host that finish a container's root before it is entered (OCI runtime-spec, config.md: createContainer hooks).
 * They see the host's files, this container's mounts, and its root where the plan says. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "child/job.h"
#include "child/sys.h"
#include "common/io.h"

/* Of what it prints, the end: that is where programs say what went wrong. */
struct tail {
	char text[256];
	size_t used;
};

static void keep(struct tail *tail, const char *more, size_t length)
{
	size_t most = sizeof tail->text - 1, drop;

	if (length > most) {
		more += length - most;
		length = most;
	}
	drop = tail->used + length > most ? tail->used + length - most : 0;
	memmove(tail->text, tail->text + drop, tail->used - drop);
	memcpy(tail->text + tail->used - drop, more, length);
	tail->used += length - drop;
	tail->text[tail->used] = '\0';
}

/* The container's state as a file: the plan has all of it but the process's number on the host. */
static int state_file(const struct job *job, const char *state)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0 || dprintf(fd, "{\"pid\":%d,%s", pid_on_host(job), state + 1) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		fail("hook", errno, "write the container's state");
	return fd;
}

static _Noreturn void become(const struct op *op, char **args, char **env, int in, int out)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2 &&
	    syscall(SYS_close_range, 3, ~0U, 0) == 0) {
		umask(022);
		execve(op->target, args, env);
	}
	dprintf(2, "%s", strerror(errno));
	_exit(127);
}

/* Until the program itself has ended: something that it leaves behind may hold its output open. */
static void wait_for(const struct op *op, int pidfd, int out, struct tail *tail)
{
	int64_t end = now_ms() + (int64_t)op->seconds * 1000;
	struct pollfd ends[2] = {{.fd = out, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	char piece[4096];

	do {
		int64_t left = end - now_ms();
		ssize_t length;

		if (left <= 0 || poll(ends, 2, (int)left) == 0)
			fail("hook", ETIMEDOUT, "%s: not done after %u s: %s", op->target, op->seconds, tail->text);
		if (ends[0].revents == 0)
			continue;
		length = read(out, piece, sizeof piece);
		if (length > 0)
			keep(tail, piece, (size_t)length);
		else
			ends[0].fd = -1;
	} while (ends[1].revents == 0 || (ends[0].fd >= 0 && ends[0].revents != 0));
}

/* It lies over "/", where no path leads to. */
static void show_root(const struct job *job, const struct op *op)
{
	static int is_shown;

	if (!is_shown && sys_attach_at(job->root, op->mount_point) < 0)
		fail("hook", errno, "move the root file system to %s", op->mount_point);
	is_shown = 1;
}

void hook_run(const struct job *job, const struct op *op)
{
	char **args = list_vector(&op->args), **env = list_vector(&op->env);
	int in = state_file(job, op->source), out[2], pidfd = -1, status = 0;
	struct clone_args how = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
	struct tail tail = {.used = 0};
	pid_t pid;

	show_root(job, op);
	if (pipe2(out, O_CLOEXEC) < 0)
		fail("hook", errno, "a pipe");
	pid = sys_clone3(&how);
	if (pid == 0)
		become(op, args, env, in, out[1]);
	if (pid < 0)
		fail("hook", errno, "clone");
	close(in);
	close(out[1]);
	wait_for(op, pidfd, out[0], &tail);
	if (waitpid(pid, &status, 0) != pid)
		fail("hook", errno, "wait for %s", op->target);
	while (tail.used > 0 && tail.text[tail.used - 1] == '\n')
		tail.text[--tail.used] = '\0';
	if (WIFSIGNALED(status))
		fail("hook", EIO, "%s: ended by signal %d: %s", op->target, WTERMSIG(status), tail.text);
	if (WEXITSTATUS(status) != 0)
		fail("hook", EIO, "%s: exit code %d: %s", op->target, WEXITSTATUS(status), tail.text);
	close(out[0]);
	close(pidfd);
}
