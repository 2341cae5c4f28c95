/* Does nothing until it is told to end; as PID 1 it also collects the orphans. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
	sigset_t signals;
	int got = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	while (sigwait(&signals, &got) == 0 && got == SIGCHLD)
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	return 0;
}
