#include "monitor/monitor.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/pod.h"

/* How long the outputs of a container that has ended may still bring something. All its processes are dead then, so this
 * is for what lies in the pipes while an attached client is slow. */
#define DRAIN_MS 500
#define LINE_MIN 256
#define LINE_MAX_BYTES 65536

struct container *containers;

void container_forget(struct container *ct)
{
	for (struct container **at = &containers; *at; at = &(*at)->next)
		if (*at == ct) {
			*at = ct->next;
			break;
		}
	buffer_free(&ct->plan);
	pages_put(ct, ct->size);
}

struct container *container_find(const char *id)
{
	for (struct container *ct = containers; ct; ct = ct->next)
		if (strcmp(ct->id, id) == 0)
			return ct;
	return NULL;
}

static void close_all(struct container *ct)
{
	process_close(&ct->process);
	timer_stop(&ct->drain);
	loop_close_fd(&ct->in_watch);
	loop_close_fd(&ct->out.watch);
	loop_close_fd(&ct->err.watch);
	ct->terminal = -1; /* it was one of these */
	if (ct->log.fd >= 0)
		close(ct->log.fd);
	ct->log.fd = -1;
	buffer_free(&ct->out.line);
	buffer_free(&ct->err.line);
}

static void made_ready(struct process *p, const char *warning, int terminal)
{
	struct container *ct = owner_of(p, struct container, process);
	struct message m = {0};
	if (warning[0])
		warn("create", 0, "%s: %s", ct->id, warning);
	buffer_free(&ct->plan);
	ct->phase = CREATED;
	ct->start_time = start_time(p->child.pid);
	if (terminal >= 0) {
		/* One fd to read from and one to write to, for epoll takes a fd only once. */
		ct->terminal = terminal;
		fcntl(terminal, F_SETFL, O_RDWR | O_NONBLOCK);
		loop_add(&ct->out.watch, terminal, EPOLLIN, container_out_ready);
		int input = ct->stdin_kept ? fcntl(terminal, F_DUPFD_CLOEXEC, 0) : -1;
		if (input >= 0 && loop_add(&ct->in_watch, input, EPOLLOUT, container_in_ready))
			loop_change(&ct->in_watch, 0);
	}
	put_u32(&m, (uint32_t)p->child.pid);
	put_u64(&m, ct->start_time);
	answer_ok(&ct->creator, &m);
}

static void running(struct process *p)
{
	struct container *ct = owner_of(p, struct container, process);
	struct message m = {0};
	ct->phase = RUNNING;
	ct->started = now_ns();
	put_u64(&m, ct->started);
	answer_ok(&ct->starter, &m);
}

static void over(struct process *p);
static const struct process_events events = {made_ready, running, over};

static struct container *new_container(const struct launch_plan *plan)
{
	struct reader groups = plan->cgroup.join.items;
	const struct io_plan *io = &plan->io;
	const char *const texts[] = {plan->container, io->log_path, io->exit_file, io->oom_file,
				     plan->cgroup.join.count ? take_text(&groups) : ""};
	size_t size = sizeof(struct container);
	for (int i = 0; i < 5; i++)
		size += strlen(texts[i]) + 1;
	struct container *ct = pages_get(size);
	if (!ct)
		return NULL;
	const char **to[] = {&ct->id, &ct->log_path, &ct->exit_file, &ct->oom_file, &ct->cgroup};
	char *at = (char *)(ct + 1);
	for (int i = 0; i < 5; i++) {
		*to[i] = at;
		at = stpcpy(at, texts[i]) + 1;
	}
	ct->size = size;
	ct->stdin_kept = io->stdin_kept;
	ct->stdin_once = io->stdin_once;
	ct->v2 = plan->cgroup.version == 2;
	ct->log.max_line = io->max_log_line < LINE_MIN ? LINE_MIN : io->max_log_line > LINE_MAX_BYTES ? LINE_MAX_BYTES : io->max_log_line;
	ct->log.fd = ct->terminal = -1;
	ct->in_watch.fd = ct->out.watch.fd = ct->err.watch.fd = -1;
	process_init(&ct->process, &events);
	ct->err.error = true;
	ct->next = containers;
	return containers = ct;
}

/* The id becomes a word in texts and JSON. */
static bool is_id(const char *id)
{
	return id[0] && id[strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] == 0;
}

static bool open_log(struct container *ct)
{
	return !ct->log_path[0] || (ct->log.fd = log_open(ct->log_path)) >= 0;
}

static bool watch_child(struct container *ct)
{
	struct child *child = &ct->process.child;
	const int pipes[] = {child->out, child->err};
	for (int i = 0; i < 2; i++)
		if (pipes[i] >= 0)
			fcntl(pipes[i], F_SETPIPE_SZ, 256 << 10);
	bool watched = process_watch(&ct->process);
	if (watched && child->out >= 0)
		watched = loop_add(&ct->out.watch, child->out, EPOLLIN, container_out_ready);
	if (watched && child->err >= 0)
		watched = loop_add(&ct->err.watch, child->err, EPOLLIN, container_err_ready);
	if (watched && child->in >= 0)
		watched = loop_add(&ct->in_watch, child->in, EPOLLOUT, container_in_ready) && loop_change(&ct->in_watch, 0);
	return watched;
}

void container_create(struct conn *c, struct frame *f)
{
	struct launch_plan plan;
	struct child_report failed = {0};
	struct reader message = f->payload;
	if (!plan_decode_launch(&f->payload, &plan) || !is_id(plan.container)) {
		conn_fail(c, f->request, EBADMSG, "request", "malformed plan");
		return;
	}
	if (container_find(plan.container)) {
		conn_fail(c, f->request, EEXIST, "container", plan.container);
		return;
	}
	struct container *ct = new_container(&plan);
	if (!ct || !open_log(ct)) {
		conn_fail(c, f->request, errno, "log", ct ? ct->log_path : "no memory");
		if (ct) {
			close_all(ct);
			container_forget(ct);
		}
		return;
	}
	int device_program = wire_take_fd(&c->wire, f, 0);
	buffer_add(&ct->plan, message.at, message.left);
	bool made = child_create(&pod.ns, &plan, device_program, &ct->process.child, &failed);
	if (device_program >= 0)
		close(device_program);
	if (!made) {
		close_all(ct);
		container_forget(ct);
		conn_fail(c, f->request, failed.error, failed.stage, failed.text);
		return;
	}
	ct->phase = CREATING;
	ct->creator = (struct asker){c, f->request};
	if (!watch_child(ct)) {
		failure(&ct->process.failed, "monitor", errno, "event loop");
		process_kill(&ct->process);
	}
}

/* Nothing was made, so nothing stays: there is no record and no event either. */
static void create_failed(struct container *ct)
{
	struct process *p = &ct->process;
	if (!p->failed.kind)
		failure(&p->failed, "create", ECHILD, "the process ended with %d while it was being made", exit_code_of(p->status));
	if (buffer_length(&ct->plan))
		child_discard_cgroups((struct reader){buffer_data(&ct->plan), buffer_length(&ct->plan), false}, &p->child);
	answer_failed(&ct->creator, &p->failed);
	close_all(ct);
	container_forget(ct);
	shutdown_when_over();
}

static void drained(struct timer *t)
{
	struct container *ct = owner_of(t, struct container, drain);
	ct->drained = true;
	container_settle(ct);
}

static void over(struct process *p)
{
	struct container *ct = owner_of(p, struct container, process);
	ct->finished = now_ns();
	if (ct->phase == CREATING) {
		create_failed(ct);
		return;
	}
	if (p->failed.kind)
		p->status = 128 << 8; /* it never ran: what clients know as StartError */
	ct->oom = WIFSIGNALED(p->status) && WTERMSIG(p->status) == SIGKILL && oom_kills(ct->oom_file) > 0;
	ct->phase = ENDING;
	/* In a PID namespace of its own everything is dead by now. In a shared one, the rest belongs to nobody any more. */
	group_kill(ct->cgroup, ct->v2);
	timer_set(&ct->drain, DRAIN_MS, drained);
	container_flow(ct, true);
	container_settle(ct);
}

void container_settle(struct container *ct)
{
	struct message nothing = {0};
	if (ct->phase != ENDING)
		return;
	if ((ct->out.watch.fd >= 0 || ct->err.watch.fd >= 0) && !ct->drained)
		return;
	log_end(&ct->log, &ct->out);
	log_end(&ct->log, &ct->err);
	if (ct->log.dropped)
		warn("log", ENOSPC, "%s: %llu bytes were not written", ct->log_path, (unsigned long long)ct->log.dropped);
	close_all(ct);
	ct->phase = EXITED;
	attach_end_all(ct);
	if (ct->process.failed.kind)
		answer_failed(&ct->starter, &ct->process.failed);
	if (ct->forgotten) {
		answer_ok(&ct->remover, &nothing);
		container_forget(ct);
	} else {
		exit_record_write(ct);
		broadcast_exit(ct);
	}
	shutdown_when_over();
}

void containers_kill_all(void)
{
	for (struct container *ct = containers; ct; ct = ct->next)
		if (ct->phase != EXITED && ct->phase != ENDING) {
			process_kill(&ct->process);
			group_kill(ct->cgroup, ct->v2);
		}
}

void container_cancel(const struct conn *c, uint32_t request)
{
	for (struct container *ct = containers; ct; ct = ct->next)
		if (ct->phase == CREATING && ct->creator.conn == c && ct->creator.request == request)
			process_kill(&ct->process);
}

void containers_forget_asker(const struct conn *c)
{
	for (struct container *ct = containers; ct; ct = ct->next) {
		struct asker *askers[] = {&ct->creator, &ct->starter, &ct->remover};
		for (int i = 0; i < 3; i++)
			if (askers[i]->conn == c)
				askers[i]->conn = NULL;
	}
}
