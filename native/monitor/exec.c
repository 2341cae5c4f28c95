/* Further processes in a container: those of ExecSync, whose output is kept for one answer, and those of a streaming
 * session, which get the server's own pipes (so that what they say does not come by here) or a terminal. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/capture.h"
#include "monitor/monitor.h"
#include "monitor/pod.h"
#include "monitor/relay.h"

/* How long a grandchild may hold the output of a process that has ended. */
#define DRAIN_MS 50
#define OUTPUT_LIMIT (64u << 20)

struct exec {
	struct exec *next;
	struct child child;
	bool stream, ready, runs, exited, timed_out;
	int status;
	struct child_report failed;
	struct asker asker;
	struct watch status_watch;
	int64_t deadline; /* ms; 0: none */
	struct capture out, err; /* sync */
	struct relay input, output; /* of a terminal */
	char cgroup[256]; /* "" when it does not fit: then only its group and session are known */
};

static struct exec *execs;

static void discard(struct exec *e)
{
	for (struct exec **at = &execs; *at; at = &(*at)->next)
		if (*at == e) {
			*at = e->next;
			break;
		}
	for (struct conn *c = conns; c; c = c->next)
		if (c->exec == e)
			c->exec = NULL;
	loop_close_fd(&e->status_watch);
	capture_close(&e->out);
	capture_close(&e->err);
	relay_close(&e->input);
	relay_close(&e->output);
	if (e->child.pidfd >= 0)
		close(e->child.pidfd);
	pages_put(e, sizeof *e);
	shutdown_when_over();
}

static void kill_exec(struct exec *e)
{
	if (e->exited)
		return;
	if (e->child.pid > 0 && !e->child.intermediate)
		descendants_kill(e->child.pid, e->cgroup);
	else if (e->child.pidfd >= 0)
		syscall(SYS_pidfd_send_signal, e->child.pidfd, SIGKILL, NULL, 0);
}

/* u32 exit code | u32 timed out | bytes stdout | bytes stderr */
static void answer_sync(struct exec *e)
{
	struct conn *c = e->asker.conn;
	uint32_t out = (uint32_t)buffer_length(&e->out.kept), err = (uint32_t)buffer_length(&e->err.kept);
	uint32_t head[3] = {(uint32_t)exit_code_of(e->status), e->timed_out, out};
	struct iovec parts[] = {{head, sizeof head},
				{out ? buffer_data(&e->out.kept) : NULL, out},
				{&err, sizeof err},
				{err ? buffer_data(&e->err.kept) : NULL, err}};
	if (c)
		conn_sent(c, wire_send(&c->wire, OP_OK, e->asker.request, parts, 4));
}

static void settle(struct exec *e)
{
	bool time_up = e->deadline && now_ms() >= e->deadline;
	if (!e->exited)
		return;
	if (e->failed.kind) {
		answer_failed(&e->asker, &e->failed);
		discard(e);
	} else if (!e->stream && (time_up || (e->out.watch.fd < 0 && e->err.watch.fd < 0))) {
		answer_sync(e);
		discard(e);
	} else if (e->stream && time_up && relay_open(&e->output) && buffer_length(&e->output.held) && e->asker.conn) {
		e->deadline = now_ms() + DRAIN_MS; /* the client is slow, and still has something to come */
	} else if (e->stream && (time_up || !relay_open(&e->output))) {
		discard(e);
	}
}

static void out_over(struct capture *c)
{
	settle(owner_of(c, struct exec, out));
}

static void err_over(struct capture *c)
{
	settle(owner_of(c, struct exec, err));
}

static void output_over(struct relay *r)
{
	settle(owner_of(r, struct exec, output));
}

static void made_ready(struct exec *e, int terminal)
{
	e->ready = true;
	if (terminal < 0)
		return;
	fcntl(terminal, F_SETFL, O_RDWR | O_NONBLOCK);
	/* The pipes of the session wait in the relays since the request came. */
	if (e->input.from >= 0)
		relay_start(&e->input, e->input.from, fcntl(terminal, F_DUPFD_CLOEXEC, 0), NULL);
	relay_start(&e->output, terminal, e->output.to, output_over);
}

static void started(struct exec *e)
{
	struct message m = {0};
	e->runs = true;
	if (!e->stream || !e->asker.conn)
		return;
	put_u32(&m, (uint32_t)e->child.pid);
	answer_ok(&(struct asker){e->asker.conn, e->asker.request}, &m);
}

/* False: the exec is gone. */
static bool read_status(struct exec *e)
{
	struct child_report report;
	int terminal = -1;
	enum said said;
	while ((said = child_said(&e->child, &report, &terminal)) == SAID_READY) {
		made_ready(e, terminal);
		terminal = -1;
	}
	if (terminal >= 0)
		close(terminal);
	if (said == SAID_NOTHING)
		return true;
	if (said == SAID_FAILED)
		e->failed = report;
	else if (e->child.pid > 0 && !e->child.intermediate && !e->failed.kind && e->status_watch.fd >= 0)
		started(e);
	loop_close_fd(&e->status_watch);
	e->child.status = -1;
	if (e->child.pid > 0)
		return true;
	if (!e->failed.kind)
		failure(&e->failed, ECHILD, "exec", "the process ended while it was being made");
	e->exited = true;
	settle(e);
	return false;
}

static void reaped(struct exec *e, int status);

/* A process that an intermediate made may have been reaped before it could tell that it is ours. */
static void update(struct exec *e)
{
	int status;
	if (read_status(e) && !e->exited && !e->child.intermediate && e->child.pidfd < 0 && take_orphan(e->child.pid, &status))
		reaped(e, status);
}

static void reaped(struct exec *e, int status)
{
	if (intermediate_over(&e->child, status)) {
		update(e);
		return;
	}
	if (!read_status(e))
		return;
	e->status = status;
	e->exited = true;
	/* Its intermediate may still hold the socket open whose end says that it runs. */
	if (!e->runs && !e->failed.kind && e->ready)
		started(e);
	if (!e->runs && !e->failed.kind)
		failure(&e->failed, ECHILD, "exec", "the process ended with %d while it was being made", exit_code_of(status));
	e->deadline = now_ms() + DRAIN_MS;
	struct conn *c = e->asker.conn;
	if (e->stream && c && !e->failed.kind) {
		struct message m = {0};
		put_u32(&m, (uint32_t)exit_code_of(status));
		conn_sent(c, wire_answer(&c->wire, OP_EXITED, e->asker.request, &m));
	}
	settle(e);
}

static void status_ready(struct watch *w, uint32_t events)
{
	(void)events;
	update(owner_of(w, struct exec, status_watch));
}

static struct exec *new_exec(void)
{
	struct exec *e = pages_get(sizeof *e);
	if (!e)
		return NULL;
	e->child = (struct child){.pid = -1, .pidfd = -1, .status = -1, .in = -1, .out = -1, .err = -1};
	e->status_watch.fd = e->out.watch.fd = e->err.watch.fd = -1;
	relay_init(&e->input);
	relay_init(&e->output);
	e->next = execs;
	return execs = e;
}

/* Makes the process. The stdio fds stay the caller's. NULL: an answer has been sent. */
static struct exec *make(struct conn *c, struct frame *f, struct reader plan, const struct child_stdio *stdio)
{
	struct plan_header header;
	struct child_report failed = {0};
	struct container *ct = NULL;
	if (!plan_header_read(&plan, &header)) {
		conn_fail(c, f->request, EBADMSG, "request", "malformed plan");
		return NULL;
	}
	ct = container_find(header.id);
	if (!ct || ct->phase != RUNNING) {
		conn_fail(c, f->request, ct ? EINVAL : ENOENT, ct ? "state" : "container", ct ? "the container is not running" : header.id);
		return NULL;
	}
	struct exec *e = new_exec();
	int made = e ? child_exec(&pod.ns, ct->child.pid, ct->child.pidfd, plan.at, plan.left, stdio, &e->child, &failed) : -ENOMEM;
	if (made == 0 && !loop_add(&e->status_watch, e->child.status, EPOLLIN, status_ready))
		made = -errno;
	if (made < 0) {
		conn_fail(c, f->request, failed.error ? failed.error : -made, failed.kind ? failed.stage : "exec", failed.text);
		if (e) {
			kill_exec(e);
			discard(e);
		}
		return NULL;
	}
	if (strlen(ct->cgroup) < sizeof e->cgroup)
		strcpy(e->cgroup, ct->cgroup);
	e->asker = (struct asker){c, f->request};
	return e;
}

/* u32 timeout in ms (0: none) | u32 bytes kept of each output | plan */
void exec_sync(struct conn *c, struct frame *f)
{
	int out[2] = {-1, -1}, err[2] = {-1, -1};
	uint32_t timeout = take_u32(&f->payload), limit = take_u32(&f->payload);
	struct exec *e = NULL;
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		conn_fail(c, f->request, errno, "exec", "pipe2");
	else
		e = make(c, f, f->payload, &(struct child_stdio){-1, out[1], err[1]});
	if (out[1] >= 0)
		close(out[1]);
	if (err[1] >= 0)
		close(err[1]);
	if (!e) {
		close(out[0]);
		close(err[0]);
		return;
	}
	e->deadline = timeout ? now_ms() + timeout : 0;
	capture_start(&e->out, out[0], limit < OUTPUT_LIMIT ? limit : OUTPUT_LIMIT, out_over);
	capture_start(&e->err, err[0], limit < OUTPUT_LIMIT ? limit : OUTPUT_LIMIT, err_over);
}

/* u32 STREAM_FLAG_* | plan; with an fd for each of stdin, stdout, stderr that is flagged, in this order. */
void exec_stream(struct conn *c, struct frame *f)
{
	int fds[3] = {-1, -1, -1};
	uint32_t flags = take_u32(&f->payload);
	unsigned count = 0;
	for (unsigned i = 0; i < 3; i++)
		if (flags & (1u << i))
			fds[i] = wire_take_fd(&c->wire, f, count++);
	bool terminal = flags & STREAM_FLAG_TTY;
	struct exec *e = NULL;
	if (c->exec || c->attached)
		conn_fail(c, f->request, EBUSY, "request", "this connection has a session");
	else
		e = make(c, f, f->payload, &(struct child_stdio){fds[0], fds[1], fds[2]});
	if (e) {
		e->stream = true;
		c->exec = e;
	}
	for (unsigned i = 0; i < 3; i++) {
		if (fds[i] < 0)
			continue;
		if (e && terminal && i < 2) {
			/* Not the monitor's own open file: others have it too, so only reads and writes of ours must not wait. */
			fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK);
			*(i ? &e->output.to : &e->input.from) = fds[i];
		} else {
			close(fds[i]);
		}
	}
}

void exec_cancel(struct conn *c, uint32_t request)
{
	for (struct exec *e = execs; e; e = e->next)
		if (e->asker.conn == c && e->asker.request == request)
			kill_exec(e);
}

/* u32 columns | u32 rows */
void exec_resize(struct conn *c, struct frame *f)
{
	uint32_t columns = take_u32(&f->payload), rows = take_u32(&f->payload);
	struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
	int terminal = c->exec ? c->exec->output.from : c->attached ? c->attached->terminal : -1;
	if (terminal >= 0 && !f->payload.bad)
		ioctl(terminal, TIOCSWINSZ, &size);
}

void exec_session_over(struct conn *c)
{
	if (!c->exec)
		return;
	kill_exec(c->exec);
	c->exec->asker.conn = NULL;
	c->exec = NULL;
}

bool exec_reaped(pid_t pid, int status)
{
	for (struct exec *e = execs; e; e = e->next)
		if (e->child.pid == pid && !e->exited) {
			reaped(e, status);
			return true;
		}
	return false;
}

void exec_forget_asker(const struct conn *c)
{
	for (struct exec *e = execs; e; e = e->next)
		if (e->asker.conn == c) {
			e->asker.conn = NULL;
			kill_exec(e); /* nobody will ever read what it says */
		}
}

void execs_read_status(void)
{
	for (struct exec *e = execs, *next; e; e = next) {
		next = e->next;
		if (e->child.intermediate)
			update(e);
	}
}

int64_t execs_deadline(void)
{
	int64_t first = INT64_MAX;
	for (struct exec *e = execs; e; e = e->next)
		if (e->deadline && e->deadline < first)
			first = e->deadline;
	return first;
}

void execs_expire(int64_t now)
{
	for (struct exec *e = execs, *next; e; e = next) {
		next = e->next;
		if (!e->deadline || now < e->deadline)
			continue;
		if (e->exited) {
			settle(e);
		} else {
			e->timed_out = true;
			e->deadline = now + 100; /* once more, should it have been about to be made */
			kill_exec(e);
		}
	}
}
