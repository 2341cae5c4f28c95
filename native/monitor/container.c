#include "monitor/monitor.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
	loop_close_fd(&ct->status_watch);
	ct->child.status = -1;
	loop_close_fd(&ct->in_watch);
	loop_close_fd(&ct->out.watch);
	loop_close_fd(&ct->err.watch);
	ct->terminal = -1; /* it was one of these */
	if (ct->log.fd >= 0)
		close(ct->log.fd);
	ct->log.fd = -1;
	if (ct->child.pidfd >= 0)
		close(ct->child.pidfd);
	ct->child.pidfd = -1;
	buffer_free(&ct->out.line);
	buffer_free(&ct->err.line);
}

static void made_ready(struct container *ct, int terminal)
{
	struct message m = {0};
	buffer_free(&ct->plan);
	ct->phase = CREATED;
	ct->start_time = start_time(ct->child.pid);
	if (terminal >= 0) {
		/* One fd to read from and one to write to, for epoll takes a fd only once. */
		ct->terminal = terminal;
		fcntl(terminal, F_SETFL, O_RDWR | O_NONBLOCK);
		loop_add(&ct->out.watch, terminal, EPOLLIN, container_out_ready);
		int input = ct->flags & PLAN_FLAG_STDIN ? fcntl(terminal, F_DUPFD_CLOEXEC, 0) : -1;
		if (input >= 0 && loop_add(&ct->in_watch, input, EPOLLOUT, container_in_ready))
			loop_change(&ct->in_watch, 0);
	}
	put_u32(&m, (uint32_t)ct->child.pid);
	put_u64(&m, ct->start_time);
	answer_ok(&ct->creator, &m);
}

static void running(struct container *ct)
{
	struct message m = {0};
	ct->phase = RUNNING;
	ct->started = now_ns();
	put_u64(&m, ct->started);
	answer_ok(&ct->starter, &m);
}

static void create_failed(struct container *ct);

/* False: the container is gone. */
static bool read_status(struct container *ct)
{
	struct child_report report;
	int terminal = -1;
	enum said said;
	while ((said = child_said(&ct->child, &report, &terminal)) == SAID_READY) {
		if (report.text[0])
			warn("create", 0, "%s: %s", ct->id, report.text);
		if (ct->phase == CREATING)
			made_ready(ct, terminal);
		else if (terminal >= 0)
			close(terminal);
		terminal = -1;
	}
	if (terminal >= 0)
		close(terminal);
	if (said == SAID_NOTHING)
		return true;
	if (said == SAID_FAILED)
		ct->failed = report;
	/* The end of its socket while it starts means that execve has closed it: the command runs. */
	if (said == SAID_END && ct->phase == STARTING)
		running(ct);
	loop_close_fd(&ct->status_watch);
	ct->child.status = -1;
	if (ct->phase != CREATING || ct->child.pid > 0)
		return true;
	create_failed(ct); /* its intermediate is over, so nobody else will tell */
	return false;
}

static void container_reaped(struct container *ct, int status);

/* An init that an intermediate made may have been reaped before it could tell that it is ours. */
static void update(struct container *ct)
{
	int status;
	if (read_status(ct) && ct->phase != ENDING && ct->phase != EXITED && !ct->child.intermediate && ct->child.pidfd < 0 &&
	    take_orphan(ct->child.pid, &status))
		container_reaped(ct, status);
}

static void status_ready(struct watch *w, uint32_t events)
{
	(void)events;
	update(owner_of(w, struct container, status_watch));
}

static const char *keep_text(char **at, struct span text)
{
	char *kept = *at;
	if (text.length)
		memcpy(kept, text.at, text.length);
	kept[text.length] = 0;
	*at += text.length + 1;
	return kept;
}

static struct container *new_container(const struct plan_header *h)
{
	struct span id = {h->id, (uint32_t)strlen(h->id)};
	size_t texts = id.length + h->log_path.length + h->exit_file.length + h->oom_file.length + h->cgroup.length + 5;
	size_t size = sizeof(struct container) + texts;
	struct container *ct = pages_get(size);
	if (!ct)
		return NULL;
	char *at = (char *)(ct + 1);
	ct->size = size;
	ct->flags = h->flags;
	ct->id = keep_text(&at, id);
	ct->log_path = keep_text(&at, h->log_path);
	ct->exit_file = keep_text(&at, h->exit_file);
	ct->oom_file = keep_text(&at, h->oom_file);
	ct->cgroup = keep_text(&at, h->cgroup);
	ct->log.max_line = h->max_log_line < LINE_MIN ? LINE_MIN : h->max_log_line > LINE_MAX_BYTES ? LINE_MAX_BYTES : h->max_log_line;
	ct->log.fd = ct->terminal = -1;
	ct->status_watch.fd = ct->in_watch.fd = ct->out.watch.fd = ct->err.watch.fd = -1;
	ct->child = (struct child){.pid = -1, .pidfd = -1, .status = -1, .in = -1, .out = -1, .err = -1};
	ct->err.error = true;
	ct->next = containers;
	return containers = ct;
}

void container_end(const struct container *ct)
{
	syscall(SYS_pidfd_send_signal, ct->child.pidfd, SIGKILL, NULL, 0);
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
	struct child *child = &ct->child;
	const int pipes[] = {child->out, child->err};
	for (int i = 0; i < 2; i++)
		if (pipes[i] >= 0)
			fcntl(pipes[i], F_SETPIPE_SZ, 256 << 10);
	bool watched = loop_add(&ct->status_watch, child->status, EPOLLIN, status_ready);
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
	struct plan_header header;
	struct child_report failed = {0};
	struct reader plan = f->payload;
	if (!plan_header_read(&plan, &header) || !is_id(header.id)) {
		conn_fail(c, f->request, EBADMSG, "request", "malformed plan");
		return;
	}
	if (container_find(header.id)) {
		conn_fail(c, f->request, EEXIST, "container", header.id);
		return;
	}
	struct container *ct = new_container(&header);
	if (!ct || !open_log(ct)) {
		conn_fail(c, f->request, errno, "log", ct ? ct->log_path : "no memory");
		if (ct)
			container_forget(ct);
		return;
	}
	int device_program = wire_take_fd(&c->wire, f, 0);
	buffer_add(&ct->plan, plan.at, plan.left);
	int made = child_create(&pod.ns, plan.at, plan.left, device_program, &ct->child, &failed);
	if (device_program >= 0)
		close(device_program);
	if (made < 0) {
		close_all(ct);
		container_forget(ct);
		conn_fail(c, f->request, failed.error ? failed.error : -made, failed.stage, failed.text);
		return;
	}
	ct->phase = CREATING;
	ct->creator = (struct asker){c, f->request};
	if (!watch_child(ct)) {
		failure(&ct->failed, errno, "monitor", "event loop");
		container_end(ct);
	}
}

/* Nothing was made, so nothing stays: there is no record and no event either. */
static void create_failed(struct container *ct)
{
	if (!ct->failed.kind)
		failure(&ct->failed, ECHILD, "create", "the process ended with %d while it was being made", exit_code_of(ct->status));
	if (buffer_length(&ct->plan))
		child_discard_cgroups(buffer_data(&ct->plan), buffer_length(&ct->plan), &ct->child);
	answer_failed(&ct->creator, &ct->failed);
	close_all(ct);
	container_forget(ct);
	shutdown_when_over();
}

static void container_reaped(struct container *ct, int status)
{
	if (intermediate_over(&ct->child, status)) {
		update(ct);
		return;
	}
	if (!read_status(ct))
		return;
	/* An intermediate may still hold the socket open whose end says that it runs. */
	if (ct->phase == STARTING && !ct->failed.kind)
		running(ct);
	ct->status = status;
	ct->finished = now_ns();
	if (ct->phase == CREATING) {
		create_failed(ct);
		return;
	}
	if (ct->phase == ENDING || ct->phase == EXITED)
		return;
	if (ct->failed.kind)
		ct->status = 128 << 8; /* it never ran: what clients know as StartError */
	ct->oom = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && oom_kills(ct->oom_file) > 0;
	ct->phase = ENDING;
	/* In a PID namespace of its own everything is dead by now. In a shared one, the rest belongs to nobody any more. */
	group_kill(ct->cgroup, ct->flags & PLAN_FLAG_CGROUP_V2);
	ct->drain_until = now_ms() + DRAIN_MS;
	container_flow(ct, true);
	container_settle(ct);
}

void container_settle(struct container *ct)
{
	struct message nothing = {0};
	if (ct->phase != ENDING)
		return;
	if ((ct->out.watch.fd >= 0 || ct->err.watch.fd >= 0) && now_ms() < ct->drain_until)
		return;
	log_end(&ct->log, &ct->out);
	log_end(&ct->log, &ct->err);
	if (ct->log.dropped)
		warn("log", ENOSPC, "%s: %llu bytes were not written", ct->log_path, (unsigned long long)ct->log.dropped);
	close_all(ct);
	ct->phase = EXITED;
	attach_end_all(ct);
	if (ct->failed.kind)
		answer_failed(&ct->starter, &ct->failed);
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
			container_end(ct);
			group_kill(ct->cgroup, ct->flags & PLAN_FLAG_CGROUP_V2);
		}
}

void container_cancel(const struct conn *c, uint32_t request)
{
	for (struct container *ct = containers; ct; ct = ct->next)
		if (ct->phase == CREATING && ct->creator.conn == c && ct->creator.request == request)
			container_end(ct);
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

bool containers_reaped(pid_t pid, int status)
{
	for (struct container *ct = containers; ct; ct = ct->next)
		if (ct->child.pid == pid && ct->phase != ENDING && ct->phase != EXITED) {
			container_reaped(ct, status);
			return true;
		}
	return false;
}

void containers_read_status(void)
{
	for (struct container *ct = containers, *next; ct; ct = next) {
		next = ct->next;
		if (ct->child.intermediate)
			update(ct);
	}
}

int64_t containers_deadline(void)
{
	int64_t first = INT64_MAX;
	for (const struct container *ct = containers; ct; ct = ct->next)
		if (ct->phase == ENDING && ct->drain_until < first)
			first = ct->drain_until;
	return first;
}

void containers_expire(int64_t now)
{
	for (struct container *ct = containers, *next; ct; ct = next) {
		next = ct->next;
		if (ct->phase == ENDING && now >= ct->drain_until)
			container_settle(ct);
	}
}
