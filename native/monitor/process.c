/* A process in the making, be it a container's or an exec's: what it says on its status socket, and whose it is when it is
 * reaped. An intermediate may make it, and end before it; then the process itself tells who it is. */
#include "monitor/process.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

/* Statuses of children that nobody has claimed: of a process that has not told yet who it is. */
#define ORPHANS 64

static struct process *processes;
static struct {
	pid_t pid;
	int status;
} orphans[ORPHANS];
static unsigned orphan_next;

enum said { SAID_NOTHING, SAID_END, SAID_READY, SAID_FAILED };

/* Takes one report. */
static enum said child_said(struct child *child, struct child_report *report, int *terminal)
{
	if (child->status < 0)
		return SAID_NOTHING;
	ssize_t n = child_receive(child->status, MSG_DONTWAIT, report, terminal);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return SAID_NOTHING;
	if (n < (ssize_t)sizeof *report)
		return SAID_END;
	switch (report->kind) {
	case CHILD_PID:
		/* The intermediate is a stranger from now on, and is reaped as one. */
		if (child->pidfd >= 0)
			close(child->pidfd);
		child->pid = report->pid;
		child->pidfd = (int)syscall(SYS_pidfd_open, report->pid, 0);
		child->intermediate = 0;
		return child_said(child, report, terminal);
	case CHILD_READY:
		return SAID_READY;
	case CHILD_FAILED:
		return SAID_FAILED;
	default:
		return SAID_END;
	}
}

static void now_runs(struct process *p)
{
	if (p->stage != GOING || p->failed.kind)
		return;
	p->stage = RUNS;
	p->events->runs(p);
}

static void now_over(struct process *p, int status)
{
	p->stage = OVER;
	p->status = status;
	p->events->over(p);
}

/* False: it is over. */
static bool read_status(struct process *p)
{
	struct child_report report;
	enum said said;
	int terminal = -1;
	while ((said = child_said(&p->child, &report, &terminal)) == SAID_READY) {
		if (p->stage == MAKING) {
			p->stage = READY;
			p->events->ready(p, report.text, terminal);
		} else if (terminal >= 0) {
			close(terminal);
		}
		terminal = -1;
	}
	if (terminal >= 0)
		close(terminal);
	if (said == SAID_NOTHING)
		return true;
	if (said == SAID_FAILED)
		p->failed = report;
	else
		now_runs(p); /* the end of its socket means that execve has closed it */
	loop_close_fd(&p->status_watch);
	p->child.status = -1;
	if (p->child.pid > 0)
		return true;
	now_over(p, 0); /* its intermediate is over, so nobody else will tell */
	return false;
}

static void reaped(struct process *p, int status);

static void update(struct process *p)
{
	if (!read_status(p) || p->stage == OVER || p->child.intermediate || p->child.pidfd >= 0)
		return;
	/* It may have been reaped before it could tell that it is ours. */
	for (unsigned i = 0; i < ORPHANS; i++)
		if (p->child.pid > 0 && orphans[i].pid == p->child.pid) {
			orphans[i].pid = 0;
			reaped(p, orphans[i].status);
			return;
		}
}

static void reaped(struct process *p, int status)
{
	struct child *child = &p->child;
	if (child->intermediate && status == 0) {
		/* It has done its work. */
		child->pid = -1;
		close(child->pidfd);
		child->pidfd = -1;
		update(p);
		return;
	}
	if (!read_status(p))
		return;
	/* An intermediate may still hold the socket open whose end says that it runs. */
	now_runs(p);
	now_over(p, status);
}

static void status_ready(struct watch *w, uint32_t events)
{
	(void)events;
	update(owner_of(w, struct process, status_watch));
}

void process_init(struct process *p, const struct process_events *events)
{
	*p = (struct process){.next = processes, .child = NO_CHILD, .events = events, .status_watch.fd = -1};
	processes = p;
}

bool process_watch(struct process *p)
{
	return loop_add(&p->status_watch, p->child.status, EPOLLIN, status_ready);
}

void process_go(struct process *p)
{
	p->stage = GOING;
}

void process_kill(const struct process *p)
{
	if (p->child.pidfd >= 0)
		syscall(SYS_pidfd_send_signal, p->child.pidfd, SIGKILL, NULL, 0);
}

void process_close(struct process *p)
{
	loop_close_fd(&p->status_watch);
	p->child.status = -1;
	if (p->child.pidfd >= 0)
		close(p->child.pidfd);
	p->child.pidfd = -1;
	for (struct process **at = &processes; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
}

void processes_read_status(void)
{
	for (struct process *p = processes, *next; p; p = next) {
		next = p->next;
		if (p->child.intermediate)
			update(p);
	}
}

void processes_reaped(pid_t pid, int status)
{
	for (struct process *p = processes; p; p = p->next)
		if (p->child.pid == pid && p->stage != OVER) {
			reaped(p, status);
			return;
		}
	orphans[orphan_next].pid = pid;
	orphans[orphan_next].status = status;
	orphan_next = (orphan_next + 1) % ORPHANS;
}
