#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>
#include "child/job.h"
#include "monitor/pod.h"

bool hear(int status, struct child_report *report)
{
	int none = -1;
	ssize_t n;
	do
		n = child_receive(status, 0, report, &none);
	while (n < 0 && errno == EINTR);
	return n == sizeof *report;
}

bool in_fork(void (*step)(void *with), void *with, struct child_report *failed)
{
	int status[2], ended = -1;
	if (status_pair(status) < 0)
		return failure(failed, "fork", errno, "socketpair");
	pid_t pid = fork();
	if (pid == 0) {
		report_to(status[1]);
		step(with);
		_exit(0);
	}
	close(status[1]);
	bool said = hear(status[0], failed);
	close(status[0]);
	if (pid > 0)
		waitpid(pid, &ended, 0);
	return !said && (ended == 0 || failure(failed, "fork", ECHILD, "a step of the pod's making ended early"));
}
