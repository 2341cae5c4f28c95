#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child/job.h"

static int status_fd = -1;
static char warning[256];

static void fill(struct child_report *report, const char *stage, int error, const char *format, va_list args)
{
	*report = (struct child_report){.kind = CHILD_FAILED, .error = error};
	snprintf(report->stage, sizeof report->stage, "%s", stage);
	vsnprintf(report->text, sizeof report->text, format, args);
}

bool failure(struct child_report *report, const char *stage, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fill(report, stage, error, format, args);
	va_end(args);
	return false;
}

void report_to(int status)
{
	status_fd = status;
	warning[0] = '\0';
}

/* Kept for CHILD_READY: standard error belongs to the container by now, or soon will. */
void report_warning(const char *format, ...)
{
	size_t used = strlen(warning);
	va_list args;

	if (used > 0 && used + 2 < sizeof warning) {
		memcpy(warning + used, "; ", 3);
		used += 2;
	}
	va_start(args, format);
	vsnprintf(warning + used, sizeof warning - used, format, args);
	va_end(args);
}

static int send_report(const struct child_report *report, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = {0};
	struct iovec part = {.iov_base = (void *)report, .iov_len = sizeof *report};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *header;

		message.msg_control = control;
		message.msg_controllen = sizeof control;
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(header), &fd, sizeof fd);
	}
	return sendmsg(status_fd, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

void report_pid(void)
{
	struct child_report report = {.kind = CHILD_PID};

	if (send_report(&report, -1) < 0)
		_exit(1);
}

void report_ready(int terminal)
{
	struct child_report report = {.kind = CHILD_READY};

	memcpy(report.text, warning, sizeof warning);
	if (send_report(&report, terminal) < 0)
		_exit(1);
}

/* The monitor may have gone: then nobody is left to tell. A full queue can't be, it holds far more than one life's reports. */
_Noreturn void fail(const char *stage, int error, const char *format, ...)
{
	struct child_report report;
	va_list args;

	va_start(args, format);
	fill(&report, stage, error, format, args);
	va_end(args);
	/* write(2), not sendmsg(2): a seccomp filter that lets anything run lets this through. */
	if (write(status_fd, &report, sizeof report) < 0)
		_exit(2);
	_exit(1);
}
