/* The monitor's end of the status socket. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child/child.h"
#include "child/job.h"

int status_pair(int ends[2])
{
	int on = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	return setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

/* Who has sent a report is the kernel's word, never the sender's: a process that speaks here may have been taken over, and the
 * monitor signals whatever pid it is told. */
ssize_t child_receive(int status, int flags, struct child_report *report, int *terminal)
{
	char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))] __attribute__((aligned(8)));
	struct iovec part = {.iov_base = report, .iov_len = sizeof *report};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t length = recvmsg(status, &message, flags | MSG_CMSG_CLOEXEC);
	struct ucred sender = {.pid = -1};

	if (length < 0)
		return length;
	for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at != NULL; at = CMSG_NXTHDR(&message, at)) {
		if (at->cmsg_level != SOL_SOCKET)
			continue;
		if (at->cmsg_type == SCM_CREDENTIALS && at->cmsg_len == CMSG_LEN(sizeof sender))
			memcpy(&sender, CMSG_DATA(at), sizeof sender);
		if (at->cmsg_type == SCM_RIGHTS && at->cmsg_len == CMSG_LEN(sizeof(int))) {
			if (*terminal >= 0)
				close(*terminal);
			memcpy(terminal, CMSG_DATA(at), sizeof(int));
		}
	}
	if (length == sizeof *report) {
		report->pid = sender.pid;
		report->stage[sizeof report->stage - 1] = '\0';
		report->text[sizeof report->text - 1] = '\0';
	}
	return length;
}
