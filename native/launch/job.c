/* Jobs: forked processes whose output becomes one answer. The launcher itself never waits for anything but its epoll. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "child/job.h"
#include "common/capture.h"
#include "common/io.h"
#include "launch/launch.h"

#define OUTPUT_LIMIT (4u << 20)
/* How long a grandchild may hold the output of a program that has ended. */
#define DRAIN_MS 100

struct task {
	struct task *next;
	uint16_t type;
	uint32_t request;
	pid_t pid;
	int failed; /* where it says why it could not do its work, as struct child_report */
	struct timer timer;
	bool exited, timed_out;
	int status;
	struct watch in_watch;
	struct buffer in;
	struct capture out, err;
};

static struct task *tasks;

/* The process may not have become the leader of its own group yet. */
static void kill_program(const struct task *t)
{
	kill(t->pid, SIGKILL);
	kill(-t->pid, SIGKILL);
}

static void answer(struct task *t)
{
	struct child_report report;
	if (read(t->failed, &report, sizeof report) == sizeof report) {
		server_sent(wire_fail(&server, t->request, report.error, report.stage, report.text));
	} else if (t->type == OP_RUN) {
		server_sent(capture_answer(&server, t->request, t->status, t->timed_out, &t->out, &t->err));
	} else if (t->status != 0) {
		server_sent(wire_fail(&server, t->request, ECHILD, "job", "ended without an answer"));
	} else {
		struct message m = {.body = t->out.kept};
		t->out.kept = (struct buffer){0};
		server_sent(wire_answer(&server, OP_OK, t->request, &m));
	}
}

static void forget(struct task *t)
{
	for (struct task **at = &tasks; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	timer_stop(&t->timer);
	loop_close_fd(&t->in_watch);
	capture_close(&t->out);
	capture_close(&t->err);
	buffer_free(&t->in);
	if (t->failed >= 0)
		close(t->failed);
	free(t);
}

static void finish(struct task *t)
{
	answer(t);
	forget(t);
}

static void finish_if_over(struct task *t)
{
	if (t->exited && t->out.watch.fd < 0 && t->err.watch.fd < 0)
		finish(t);
}

static void out_over(struct capture *c)
{
	finish_if_over(owner_of(c, struct task, out));
}

static void err_over(struct capture *c)
{
	finish_if_over(owner_of(c, struct task, err));
}

static void in_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct task *t = owner_of(w, struct task, in_watch);
	ssize_t n = buffer_length(&t->in) ? write(w->fd, buffer_data(&t->in), buffer_length(&t->in)) : 0;
	if (n > 0)
		buffer_drop(&t->in, (size_t)n);
	if (buffer_length(&t->in) == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		loop_close_fd(w);
}

/* text path | texts arguments | texts environment | text working directory, "" for this one */
static _Noreturn void run_program(struct reader *r)
{
	const char *path = take_text(r);
	struct list args = take_list(r, UINT32_MAX, skip_text), env = take_list(r, UINT32_MAX, skip_text);
	const char *cwd = take_text(r);
	char **argv = texts_vector(&args), **envp = texts_vector(&env);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (r->bad || !argv || !envp)
		fail("request", EBADMSG, "malformed");
	/* All else that is open here closes on exec. */
	if (cwd[0] == 0 || chdir(cwd) == 0)
		execve(path, argv, envp);
	fail("exec", errno, "the program can't be executed");
}

static _Noreturn void become(struct task *t, struct reader *r, const int *pipes)
{
	int keep[] = {pipes[0], pipes[3], pipes[5], pipes[7]};
	if (t->type == OP_RUN) {
		report_to(pipes[7]);
		for (int i = 0; i < 3; i++)
			dup2(keep[i], i);
		run_program(r);
	}
	forget_launcher(keep, 4);
	dup2(4, 1);
	report_to(6);
	if (t->type == OP_READ_IMAGE_FILES)
		read_image_files(r);
	setpriority(PRIO_PROCESS, 0, 10);
	remove_trees(r);
}

/* Forks the task's process. The parent's ends of its pipes are watched then. */
static void start(struct task *t, struct reader *r)
{
	/* Read and write ends of stdin, stdout, stderr and the pipe for a failure. */
	int pipes[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
	for (int i = 0; i < 8; i += 2)
		if (pipe2(pipes + i, O_CLOEXEC) < 0)
			break;
	t->pid = pipes[7] < 0 ? -1 : fork();
	if (t->pid == 0)
		become(t, r, pipes);
	int error = errno;
	close(pipes[0]);
	close(pipes[3]);
	close(pipes[5]);
	close(pipes[7]);
	t->failed = pipes[6];
	fcntl(pipes[1], F_SETFL, O_NONBLOCK);
	fcntl(pipes[6], F_SETFL, O_NONBLOCK);
	if (t->pid > 0 && loop_add(&t->in_watch, pipes[1], EPOLLOUT, in_ready)) {
		/* An answer of our own is bounded by its request; a stranger's output is cut off, and read on so that it can end. */
		size_t limit = t->type == OP_RUN ? OUTPUT_LIMIT : LIMIT_FRAME * 16u;
		capture_start(&t->out, pipes[2], limit, out_over);
		capture_start(&t->err, pipes[4], limit, err_over);
		return;
	}
	close(pipes[1]);
	close(pipes[2]);
	close(pipes[4]);
	server_sent(wire_fail(&server, t->request, error, "fork", "no process for the request"));
	forget(t);
}

static struct task *new_task(const struct frame *f)
{
	struct task *t = calloc(1, sizeof *t);
	if (!t)
		die("job", "no memory");
	t->type = f->type;
	t->request = f->request;
	t->failed = t->in_watch.fd = t->out.watch.fd = t->err.watch.fd = -1;
	t->next = tasks;
	return tasks = t;
}

void job_of_ours(struct frame *f)
{
	start(new_task(f), &f->payload);
}

static void time_is_up(struct timer *timer)
{
	struct task *t = owner_of(timer, struct task, timer);
	if (t->exited) {
		finish(t);
		return;
	}
	t->timed_out = true;
	kill_program(t);
}

/* u32 timeout in ms (0: none) | bytes stdin | what run_program reads */
void job_run(struct frame *f)
{
	uint32_t timeout = take_u32(&f->payload), length;
	const uint8_t *input = take_bytes(&f->payload, &length);
	struct task *t = new_task(f);
	if (!buffer_add(&t->in, input, length))
		die("job", "no memory");
	if (timeout)
		timer_set(&t->timer, timeout, time_is_up);
	start(t, &f->payload);
}

void job_cancel(uint32_t request)
{
	for (struct task *t = tasks; t; t = t->next)
		if (t->request == request && t->type == OP_RUN && !t->exited)
			kill_program(t);
}

void job_reaped(int pid, int status)
{
	for (struct task *t = tasks; t; t = t->next)
		if (t->pid == pid && !t->exited) {
			t->exited = true;
			t->status = status;
			timer_set(&t->timer, DRAIN_MS, time_is_up);
			finish_if_over(t);
			return;
		}
}

void jobs_end(void)
{
	for (struct task *t = tasks; t; t = t->next)
		if (t->type == OP_RUN && !t->exited)
			kill_program(t);
}
