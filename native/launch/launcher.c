#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "launch/launch.h"

struct wire server = {.fd = 3};
static struct watch server_watch, signal_watch;
static bool ended;

void server_sent(bool ok)
{
	if (!ok)
		ended = true;
	loop_change(&server_watch, EPOLLIN | (wire_pending(&server) ? EPOLLOUT : 0u));
}

void forget_launcher(int *keep, int count)
{
	loop_close();
	/* First above everything that they could land on. */
	for (int i = 0; i < count; i++)
		keep[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, 1000);
	for (int i = 0; i < count; i++)
		keep[i] = dup3(keep[i], 3 + i, O_CLOEXEC);
	close_from(3 + (unsigned)count);
}

static void dispatch(struct frame *f)
{
	switch (f->type) {
	case OP_SPAWN_MONITOR:
		spawn_monitor(f);
		break;
	case OP_READ_IMAGE_FILES:
	case OP_REMOVE_TREES:
		job_of_ours(f);
		break;
	case OP_RUN:
		job_run(f);
		break;
	case OP_CANCEL:
		job_cancel(f->request);
		break;
	default:
		server_sent(wire_fail(&server, f->request, ENOSYS, "request", "the launcher knows no such request"));
	}
}

static void server_ready(struct watch *w, uint32_t events)
{
	(void)w;
	struct frame f;
	int whole;
	if (events & EPOLLOUT)
		server_sent(wire_flush(&server));
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (!wire_receive(&server))
		ended = true;
	while (!ended && (whole = wire_next(&server, &f)) != 0) {
		if (whole < 0) {
			ended = true;
			break;
		}
		dispatch(&f);
		wire_done(&server, &f);
	}
}

static void signal_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct signalfd_siginfo info;
	while (read(w->fd, &info, sizeof info) > 0)
		;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		job_reaped(pid, status);
}

int launcher_run(unsigned pool)
{
	sigset_t set;
	prctl(PR_SET_DUMPABLE, 0);
	/* A container that has no keys left to make its own session keyring of is in this one, and not in the server's. Without
	 * keyrings in the kernel (ENOSYS) there is nothing to be kept from it; without keys left for root itself (an unconfined
	 * container can take them) the server starts all the same. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		warn("launcher", errno, "no session keyring of its own");
	/* What a monitor leaves that was killed is ours to reap; not every machine's process 1 does. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* Nobody but the server ends us: a signal to its whole group must not. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	fcntl(server.fd, F_SETFD, FD_CLOEXEC);
	if (signals < 0 || !loop_open() || !loop_add(&signal_watch, signals, EPOLLIN, signal_ready) ||
	    !loop_add(&server_watch, server.fd, EPOLLIN, server_ready))
		die("launcher", "event loop");
	pool_open(pool);
	while (!ended) {
		/* Monitors are forked when nothing has come for a moment, so that no request waits for it. */
		bool few = pool_is_short();
		bool idle = !loop_once(few ? 2 : -1);
		if (few && idle)
			pool_add();
	}
	jobs_end();
	return 0;
}
