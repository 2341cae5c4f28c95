/* Jobs: forked processes whose output becomes one answer. The launcher itself never waits for anything but its epoll. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "launch/launch.h"

#define OUTPUT_LIMIT (4u << 20)
#define JANITORS 3
/* How long a grandchild may hold the output of a program that has ended. */
#define DRAIN_MS 100

struct job {
	struct job *next;
	uint16_t type;
	uint32_t request;
	pid_t pid; /* 0: waits for its turn (its request is in `in`) */
	int failed; /* where a program that could not be executed says why */
	int64_t deadline; /* 0: none */
	bool exited, timed_out;
	int status;
	struct watch in_watch, out_watch, err_watch;
	struct buffer in, out, err;
};

static struct job *jobs;

static void start_janitor(void);

/* The process may not have become the leader of its own group yet. */
static void kill_program(const struct job *j)
{
	kill(j->pid, SIGKILL);
	kill(-j->pid, SIGKILL);
}

static void answer(struct job *j)
{
	uint8_t head[12];
	int error = 0;
	if (j->type != OP_RUN) {
		uint16_t type;
		if (buffer_length(&j->out) < sizeof type) {
			server_sent(wire_fail(&server, j->request, ECHILD, "job", "ended without an answer"));
			return;
		}
		memcpy(&type, buffer_data(&j->out), sizeof type);
		struct iovec rest = {buffer_data(&j->out) + sizeof type, buffer_length(&j->out) - sizeof type};
		server_sent(wire_send(&server, type, j->request, &rest, 1));
	} else if (read(j->failed, &error, sizeof error) == sizeof error) {
		server_sent(wire_fail(&server, j->request, error, "exec", "the program can't be executed"));
	} else {
		uint32_t code = WIFSIGNALED(j->status) ? 128u + (uint32_t)WTERMSIG(j->status) : (uint32_t)WEXITSTATUS(j->status);
		uint32_t timed_out = j->timed_out, out = (uint32_t)buffer_length(&j->out), err = (uint32_t)buffer_length(&j->err);
		memcpy(head, &code, 4);
		memcpy(head + 4, &timed_out, 4);
		memcpy(head + 8, &out, 4);
		struct iovec parts[] = {
			{head, sizeof head}, {out ? buffer_data(&j->out) : NULL, out}, {&err, 4}, {err ? buffer_data(&j->err) : NULL, err}};
		server_sent(wire_send(&server, OP_OK, j->request, parts, 4));
	}
}

static void forget_job(struct job *j)
{
	buffer_free(&j->in);
	buffer_free(&j->out);
	buffer_free(&j->err);
	for (struct job **at = &jobs; *at; at = &(*at)->next)
		if (*at == j) {
			*at = j->next;
			break;
		}
	free(j);
}

static void finish(struct job *j)
{
	answer(j);
	loop_close_fd(&j->in_watch);
	loop_close_fd(&j->out_watch);
	loop_close_fd(&j->err_watch);
	close(j->failed);
	bool janitor = j->type == OP_REMOVE_TREES;
	forget_job(j);
	if (janitor)
		start_janitor();
}

static void finish_if_over(struct job *j)
{
	if (j->exited && j->out_watch.fd < 0 && j->err_watch.fd < 0)
		finish(j);
}

static void collect(struct job *j, struct watch *w, struct buffer *to)
{
	/* An answer of our own is bounded by its request; a stranger's output is cut off, and read on so that it can end. */
	size_t limit = j->type == OP_RUN ? OUTPUT_LIMIT : LIMIT_FRAME * 16u;
	static uint8_t rest[4096];
	bool full = buffer_length(to) >= limit || !buffer_reserve(to, 65536);
	ssize_t n = full ? read(w->fd, rest, sizeof rest) : read(w->fd, to->at + to->end, to->size - to->end);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0 && !full) {
		to->end += (size_t)n;
		if (buffer_length(to) > limit)
			to->end = to->start + limit;
	}
	if (n > 0)
		return;
	loop_close_fd(w);
	finish_if_over(j);
}

static void out_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct job *j = owner_of(w, struct job, out_watch);
	collect(j, w, &j->out);
}

static void err_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct job *j = owner_of(w, struct job, err_watch);
	collect(j, w, &j->err);
}

static void in_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct job *j = owner_of(w, struct job, in_watch);
	ssize_t n = buffer_length(&j->in) ? write(w->fd, buffer_data(&j->in), buffer_length(&j->in)) : 0;
	if (n > 0)
		buffer_drop(&j->in, (size_t)n);
	if (buffer_length(&j->in) == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		loop_close_fd(w);
}

static void run_program(struct reader *r, int in, int out, int err, int failed) __attribute__((noreturn));
static void run_program(struct reader *r, int in, int out, int err, int failed)
{
	/* Texts become C strings in one copy of the request; each has four bytes of length in front, room for its NUL. */
	char **lists[2] = {NULL, NULL}, *path, *cwd;
	uint32_t length, count = 0;
	const uint8_t *here = take_bytes(r, &length);
	path = strndup((const char *)here, length);
	for (int list = 0; list < 2 && !r->bad; list++) {
		count = take_u32(r);
		if (count > r->left / 4)
			break;
		lists[list] = calloc(count + 1, sizeof(char *));
		for (uint32_t i = 0; i < count && lists[list]; i++) {
			here = take_bytes(r, &length);
			lists[list][i] = here ? strndup((const char *)here, length) : NULL;
		}
	}
	here = take_bytes(r, &length);
	cwd = here ? strndup((const char *)here, length) : NULL;
	int error = EBADMSG;
	if (!r->bad && lists[0] && lists[1] && path && cwd) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		setsid();
		dup2(in, 0);
		dup2(out, 1);
		dup2(err, 2);
		/* All else that is open here closes on exec. */
		if (cwd[0] == 0 || chdir(cwd) == 0)
			execve(path, lists[0], lists[1]);
		error = errno;
	}
	if (!write_all(failed, &error, sizeof error))
		_exit(126);
	_exit(127);
}

static void become(struct job *j, struct reader *r, const int *pipes) __attribute__((noreturn));
static void become(struct job *j, struct reader *r, const int *pipes)
{
	if (j->type == OP_RUN)
		run_program(r, pipes[0], pipes[3], pipes[5], pipes[7]);
	int keep = pipes[3];
	forget_launcher(&keep, 1);
	dup2(3, 1);
	close(3);
	if (j->type == OP_READ_IMAGE_FILES)
		read_image_files(r);
	setpriority(PRIO_PROCESS, 0, 10);
	remove_trees(r);
}

/* Forks the job's process. The parent's ends of its pipes are watched then. */
static bool start(struct job *j, struct reader *r)
{
	/* Read and write ends of stdin, stdout, stderr and the pipe that tells why a program could not be executed. */
	int pipes[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
	for (int i = 0; i < 8; i += 2)
		if (pipe2(pipes + i, O_CLOEXEC) < 0)
			break;
	j->pid = pipes[7] < 0 ? -1 : fork();
	if (j->pid == 0)
		become(j, r, pipes);
	int error = errno;
	close(pipes[0]);
	close(pipes[3]);
	close(pipes[5]);
	close(pipes[7]);
	j->failed = pipes[6];
	const int ours[] = {pipes[1], pipes[2], pipes[4], pipes[6]};
	for (int i = 0; i < 4; i++)
		fcntl(ours[i], F_SETFL, O_NONBLOCK);
	if (j->pid > 0 && loop_add(&j->in_watch, pipes[1], EPOLLOUT, in_ready) &&
	    loop_add(&j->out_watch, pipes[2], EPOLLIN, out_ready) && loop_add(&j->err_watch, pipes[4], EPOLLIN, err_ready))
		return true;
	for (int i = 0; i < 4; i++)
		close(ours[i]);
	server_sent(wire_fail(&server, j->request, error, "fork", "no process for the request"));
	return false;
}

static struct job *new_job(const struct frame *f)
{
	struct job *j = calloc(1, sizeof *j);
	if (!j)
		die("job", "no memory");
	j->type = f->type;
	j->request = f->request;
	j->failed = -1;
	j->in_watch.fd = j->out_watch.fd = j->err_watch.fd = -1;
	/* Last in the list, so that janitors take turns in order. */
	struct job **at = &jobs;
	while (*at)
		at = &(*at)->next;
	return *at = j;
}

static void start_or_drop(struct job *j, struct reader *r)
{
	if (start(j, r))
		return;
	forget_job(j);
}

void job_image_files(struct frame *f)
{
	start_or_drop(new_job(f), &f->payload);
}

static void start_janitor(void)
{
	int running = 0;
	struct job *waiting = NULL;
	for (struct job *j = jobs; j; j = j->next) {
		running += j->type == OP_REMOVE_TREES && j->pid > 0;
		if (j->type == OP_REMOVE_TREES && j->pid == 0 && !waiting)
			waiting = j;
	}
	if (!waiting || running >= JANITORS)
		return;
	struct reader r = {.at = buffer_data(&waiting->in), .left = buffer_length(&waiting->in)};
	start_or_drop(waiting, &r);
}

void job_remove_trees(struct frame *f)
{
	struct job *j = new_job(f);
	if (!buffer_add(&j->in, f->payload.at, f->payload.left))
		die("job", "no memory");
	start_janitor();
}

void job_run(struct frame *f)
{
	/* First what the launcher itself needs, then what the child makes of the rest. */
	uint32_t timeout = take_u32(&f->payload), length;
	const uint8_t *input = take_bytes(&f->payload, &length);
	struct job *j = new_job(f);
	if (input && !buffer_add(&j->in, input, length))
		die("job", "no memory");
	j->deadline = timeout ? now_ms() + timeout : 0;
	start_or_drop(j, &f->payload);
}

void job_cancel(uint32_t request)
{
	for (struct job *j = jobs; j; j = j->next)
		if (j->request == request && j->type == OP_RUN && j->pid > 0 && !j->exited)
			kill_program(j);
}

void job_reaped(int pid, int status)
{
	for (struct job *j = jobs; j; j = j->next)
		if (j->pid == pid && !j->exited) {
			j->exited = true;
			j->status = status;
			j->deadline = now_ms() + DRAIN_MS;
			finish_if_over(j);
			return;
		}
}

int jobs_timeout(void)
{
	int64_t now = now_ms(), first = -1;
	for (struct job *j = jobs; j; j = j->next)
		if (j->deadline && (first < 0 || j->deadline - now < first))
			first = j->deadline > now ? j->deadline - now : 0;
	return first > 60000 ? 60000 : (int)first;
}

void jobs_expire(void)
{
	int64_t now = now_ms();
	for (struct job *j = jobs, *next; j; j = next) {
		next = j->next;
		if (!j->deadline || j->deadline > now)
			continue;
		if (j->exited) {
			finish(j);
			return;
		}
		j->timed_out = true;
		j->deadline = 0;
		kill_program(j);
	}
}

void jobs_end(void)
{
	for (struct job *j = jobs; j; j = j->next)
		if (j->type == OP_RUN && j->pid > 0 && !j->exited)
			kill_program(j);
}
