#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

enum said child_said(struct child *child, struct child_report *report, int *terminal)
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

bool intermediate_over(struct child *child, int status)
{
	if (!child->intermediate || status != 0)
		return false;
	child->pid = -1;
	close(child->pidfd);
	child->pidfd = -1;
	return true;
}
