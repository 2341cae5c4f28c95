/* Further processes in a container: those of ExecSync, whose output is kept for one answer, and those of a streaming
 * session, which get the server's own pipes (so that what they say does not come by here) or a terminal. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "common/capture.h"
#include "common/io.h"
#include "monitor/monitor.h"
#include "monitor/pod.h"
#include "monitor/relay.h"

/* How long a grandchild may hold the output of a process that has ended. */
#define DRAIN_MS 50
#define OUTPUT_LIMIT (64u << 20)

struct exec {
	struct process process;
	struct exec *next;
	bool stream, ran, timed_out, drained;
	struct asker asker;
	struct timer timer;
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
	process_close(&e->process);
	timer_stop(&e->timer);
	capture_close(&e->out);
	capture_close(&e->err);
	relay_close(&e->input);
	relay_close(&e->output);
	pages_put(e, sizeof *e);
	shutdown_when_over();
}

static void kill_exec(struct exec *e)
{
	const struct child *child = &e->process.child;
	if (e->process.stage == OVER)
		return;
	if (child->pid > 0 && !child->intermediate)
		descendants_kill(child->pid, e->cgroup);
	else
		process_kill(&e->process);
}

static void time_is_up(struct timer *t);

static void settle(struct exec *e)
{
	const struct process *p = &e->process;
	struct conn *c = e->asker.conn;
	if (p->stage != OVER)
		return;
	if (p->failed.kind) {
		answer_failed(&e->asker, &p->failed);
		discard(e);
	} else if (!e->stream && (e->drained || (e->out.watch.fd < 0 && e->err.watch.fd < 0))) {
		if (c)
			conn_sent(c, capture_answer(&c->wire, e->asker.request, p->status, e->timed_out, &e->out, &e->err));
		discard(e);
	} else if (e->stream && e->drained && relay_open(&e->output) && buffer_length(&e->output.held) && c) {
		timer_set(&e->timer, DRAIN_MS, time_is_up); /* the client is slow, and still has something to come */
	} else if (e->stream && (e->drained || !relay_open(&e->output))) {
		discard(e);
	}
}

static void time_is_up(struct timer *t)
{
	struct exec *e = owner_of(t, struct exec, timer);
	if (e->process.stage == OVER) {
		e->drained = true;
		settle(e);
		return;
	}
	e->timed_out = true;
	timer_set(t, 100, time_is_up); /* once more, should it have been about to be made */
	kill_exec(e);
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

static void made_ready(struct process *p, const char *warning, int terminal)
{
	struct exec *e = owner_of(p, struct exec, process);
	(void)warning;
	process_go(p); /* it waits for nobody */
	if (terminal < 0)
		return;
	fcntl(terminal, F_SETFL, O_RDWR | O_NONBLOCK);
	/* The pipes of the session wait in the relays since the request came. */
	if (e->input.from >= 0)
		relay_start(&e->input, e->input.from, fcntl(terminal, F_DUPFD_CLOEXEC, 0), NULL);
	relay_start(&e->output, terminal, e->output.to, output_over);
}

static void runs(struct process *p)
{
	struct exec *e = owner_of(p, struct exec, process);
	struct message m = {0};
	e->ran = true;
	if (!e->stream || !e->asker.conn)
		return;
	put_u32(&m, (uint32_t)p->child.pid);
	answer_ok(&(struct asker){e->asker.conn, e->asker.request}, &m);
}

static void over(struct process *p)
{
	struct exec *e = owner_of(p, struct exec, process);
	struct conn *c = e->asker.conn;
	if (!p->failed.kind && !e->ran)
		failure(&p->failed, "exec", ECHILD, "the process ended with %d while it was being made", exit_code_of(p->status));
	timer_set(&e->timer, DRAIN_MS, time_is_up);
	if (e->stream && c && !p->failed.kind) {
		struct message m = {0};
		put_u32(&m, (uint32_t)exit_code_of(p->status));
		conn_sent(c, wire_answer(&c->wire, OP_EXITED, e->asker.request, &m));
	}
	settle(e);
}

static const struct process_events events = {made_ready, runs, over};

static struct exec *new_exec(void)
{
	struct exec *e = pages_get(sizeof *e);
	if (!e)
		return NULL;
	process_init(&e->process, &events);
	e->out.watch.fd = e->err.watch.fd = -1;
	relay_init(&e->input);
	relay_init(&e->output);
	e->next = execs;
	return execs = e;
}

/* Makes the process. The stdio fds stay the caller's. NULL: an answer has been sent. */
static struct exec *make(struct conn *c, struct frame *f, const struct child_stdio *stdio)
{
	struct exec_plan plan;
	struct child_report failed = {0};
	if (!plan_decode_exec(&f->payload, &plan)) {
		conn_fail(c, f->request, EBADMSG, "request", "malformed plan");
		return NULL;
	}
	struct container *ct = container_find(plan.container);
	if (!ct || ct->phase != RUNNING) {
		conn_fail(c, f->request, ct ? EINVAL : ENOENT, ct ? "state" : "container", ct ? "the container is not running" : plan.container);
		return NULL;
	}
	const struct child *init = &ct->process.child;
	struct exec *e = new_exec();
	bool made = e ? child_exec(&pod.ns, init->pid, init->pidfd, &plan, stdio, &e->process.child, &failed)
		      : failure(&failed, "exec", ENOMEM, "no memory");
	if (made && !process_watch(&e->process))
		made = failure(&failed, "exec", errno, "event loop");
	if (!made) {
		conn_fail(c, f->request, failed.error, failed.stage, failed.text);
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
		e = make(c, f, &(struct child_stdio){-1, out[1], err[1]});
	if (out[1] >= 0)
		close(out[1]);
	if (err[1] >= 0)
		close(err[1]);
	if (!e) {
		close(out[0]);
		close(err[0]);
		return;
	}
	if (timeout)
		timer_set(&e->timer, timeout, time_is_up);
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
		e = make(c, f, &(struct child_stdio){fds[0], fds[1], fds[2]});
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

void exec_forget_asker(const struct conn *c)
{
	for (struct exec *e = execs; e; e = e->next)
		if (e->asker.conn == c) {
			e->asker.conn = NULL;
			kill_exec(e); /* nobody will ever read what it says */
		}
}
