/* A monitor in miniature, so that tests can see what the child code does: makes a container from an encoded plan, runs
 * execs in it, and prints one JSON object a line. Arguments, in order of use:
 *   --pod net,ipc,uts,pid,user   makes such namespaces and gives them as the pod's (user: 0 -> 100000, 65536 ids)
 *   --create FILE                child_create, up to READY
 *   --program FD                 device program for the next --create
 *   --start                      lets it exec
 *   --exec FILE                  child_exec, to the end
 *   --repeat N                   for the next --exec or --create: N times, prints times
 *   --run COMMAND                a shell command of the host, INIT set to the container's pid
 *   --signal N                   to the init
 *   --swap DIRECTORY             a process that exchanges DIRECTORY/a and DIRECTORY/b without end
 *   --deny-devices               as --program, with one that denies all
 *   --crash                      ends at once, as a killed monitor would
 *   --wait                       for the init's end */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

struct pod_namespaces pod = {-1, -1, -1, -1, -1};
static struct child container = {.pid = -1};
static pid_t init_pid = -1;
static int terminal = -1;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* One report, with what came along by SCM_RIGHTS; 0 at the end of file. */
static int next_report(int status, struct child_report *report, int *fd)
{
	struct pollfd ready = {.fd = status, .events = POLLIN};
	int ignored = -1;

	poll(&ready, 1, -1);
	return child_receive(status, 0, report, fd != NULL ? fd : &ignored) == sizeof *report;
}

static int code_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* A plan's message. */
static struct reader load(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat about;
	uint8_t *bytes;

	if (fd < 0 || fstat(fd, &about) < 0)
		exit(98);
	bytes = malloc((size_t)about.st_size);
	if (read(fd, bytes, (size_t)about.st_size) != about.st_size)
		exit(98);
	close(fd);
	return (struct reader){.at = bytes, .left = (size_t)about.st_size};
}

/* Everything up to READY or FAILED. Gives the process's pid, or -1. */
static pid_t follow(struct child *child, const char *who, int quiet)
{
	struct child_report report;
	pid_t pid = child->pid;
	char event[40];
	int got, status;

	while ((got = next_report(child->status, &report, &terminal)) && report.kind == CHILD_PID)
		pid = report.pid;
	if (child->intermediate) {
		waitpid(child->pid, &status, 0);
		if (pid == child->pid)
			pid = -1;
	}
	if (got && report.kind == CHILD_READY) {
		if (!quiet) {
			printf("{\"event\": \"%s-ready\", \"pid\": %d, \"terminal\": %s", who, pid, terminal >= 0 ? "true" : "false");
			print_text("warning", report.text, strlen(report.text));
			printf("}\n");
		}
		return pid;
	}
	snprintf(event, sizeof event, "%s-failed", who);
	if (got)
		print_failed(event, &report);
	else
		printf("{\"event\": \"%s-died\"}\n", who);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return -1;
}

static pid_t create_once(struct reader message, int program, int quiet)
{
	struct reader copy = message;
	struct launch_plan plan;
	struct child_report failed;
	pid_t pid;

	terminal = -1;
	if (!plan_decode_launch(&copy, &plan))
		exit(97);
	if (!child_create(&pod, &plan, program, &container, &failed)) {
		print_failed("create-failed", &failed);
		return -1;
	}
	pid = follow(&container, "create", quiet);
	if (pid < 0)
		child_discard_cgroups(message, &container);
	return pid;
}

static void close_container(void)
{
	close(container.status);
	close(container.pidfd);
	if (container.out >= 0) {
		close(container.out);
		close(container.err);
	}
	if (container.in >= 0)
		close(container.in);
}

/* What an overlay leaves in its work directory; a second mount would be refused for its mark, or slowed down by the rest. */
static void forget_work(struct reader message)
{
	struct launch_plan plan;
	char path[4200];

	if (!plan_decode_launch(&message, &plan))
		return;
	snprintf(path, sizeof path, "%s/work/incompat/volatile/dirty", plan.rootfs.work);
	unlink(path);
	for (int i = 0; i < 3; i++) {
		*strrchr(path, '/') = '\0';
		rmdir(path);
	}
}

static void create(const char *file, int program, int repeat)
{
	struct reader plan = load(file);
	double *times = calloc((size_t)repeat + 1, sizeof *times);

	for (int i = 0; i < repeat; i++) {
		double start = now_ms();
		int status;

		init_pid = create_once(plan, program, repeat > 1);
		times[i] = now_ms() - start;
		if (repeat > 1 && init_pid > 0) {
			kill(init_pid, SIGKILL);
			waitpid(init_pid, &status, 0);
			close_container();
			forget_work(plan);
			child_discard_cgroups(plan, &container);
		}
	}
	if (repeat > 1)
		print_times("create", times, repeat);
	free(times);
	free((void *)plan.at);
}

static void start(void)
{
	struct child_report report;
	double before = now_ms();

	if (send(container.status, "s", 1, MSG_NOSIGNAL) != 1) {
		printf("{\"event\": \"start-lost\"}\n");
		return;
	}
	if (next_report(container.status, &report, NULL))
		print_failed("start-failed", &report);
	else
		printf("{\"event\": \"started\", \"ms\": %.3f}\n", now_ms() - before);
}

static int exec_once(struct reader message, int quiet)
{
	struct child_report report;
	struct exec_plan plan;
	struct child made;
	int out[2], err[2], status = 0, pidfd = (int)syscall(SYS_pidfd_open, init_pid, 0);
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		exit(98);
	terminal = -1;
	if (!plan_decode_exec(&message, &plan))
		exit(97);
	if (!child_exec(&pod, init_pid, pidfd, &plan, &(struct child_stdio){-1, out[1], err[1]}, &made, &report)) {
		print_failed("exec-failed", &report);
		close(pidfd);
		return -1;
	}
	close(out[1]);
	close(err[1]);
	close(pidfd);
	pid = follow(&made, "exec", 1);
	if (pid > 0 && next_report(made.status, &report, NULL)) {
		print_failed("exec-failed", &report);
		waitpid(pid, &status, 0);
		pid = -1;
	}
	if (pid > 0) {
		if (!quiet) {
			printf("{\"event\": \"exec\", \"terminal\": %s", terminal >= 0 ? "true" : "false");
			if (terminal >= 0) {
				char *text = malloc(OUTPUT_MOST);

				print_text("out", text, drain(terminal, text, 0));
				free(text);
			} else {
				collect(out[0], err[0]);
			}
		}
		waitpid(pid, &status, 0);
		if (!quiet)
			printf(", \"code\": %d}\n", code_of(status));
	}
	if (terminal >= 0)
		close(terminal);
	close(out[0]);
	close(err[0]);
	close(made.status);
	close(made.pidfd);
	return pid > 0 ? 0 : -1;
}

static void exec(const char *file, int repeat)
{
	struct reader plan = load(file);
	double *times = calloc((size_t)repeat + 1, sizeof *times);

	for (int i = 0; i < repeat; i++) {
		double before = now_ms();

		if (exec_once(plan, repeat > 1) < 0)
			break;
		times[i] = now_ms() - before;
	}
	if (repeat > 1)
		print_times("exec", times, repeat);
	free(times);
	free((void *)plan.at);
}

static void wait_init(void)
{
	int status = 0;

	if (init_pid < 0)
		return;
	printf("{\"event\": \"exit\"");
	if (terminal >= 0) {
		char *text = malloc(OUTPUT_MOST);

		print_text("out", text, drain(terminal, text, 0));
		free(text);
	} else {
		collect(container.out, container.err);
	}
	waitpid(init_pid, &status, 0);
	printf(", \"code\": %d}\n", code_of(status));
	init_pid = -1;
}

int main(int argc, char **argv)
{
	int repeat = 1, program = -1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 1; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--start") == 0) {
			start();
			continue;
		}
		if (strcmp(argv[i], "--crash") == 0)
			_exit(0);
		if (strcmp(argv[i], "--deny-devices") == 0) {
			program = load_denial();
			continue;
		}
		if (strcmp(argv[i], "--wait") == 0) {
			wait_init();
			continue;
		}
		i++;
		if (strcmp(argv[i - 1], "--swap") == 0) {
			swap(next);
		} else if (strcmp(argv[i - 1], "--pod") == 0) {
			make_pod(next);
		} else if (strcmp(argv[i - 1], "--create") == 0) {
			create(next, program, repeat);
			repeat = 1;
		} else if (strcmp(argv[i - 1], "--exec") == 0) {
			exec(next, repeat);
			repeat = 1;
		} else if (strcmp(argv[i - 1], "--repeat") == 0) {
			repeat = atoi(next);
		} else if (strcmp(argv[i - 1], "--program") == 0) {
			program = atoi(next);
		} else if (strcmp(argv[i - 1], "--signal") == 0) {
			if (init_pid > 0)
				kill(init_pid, atoi(next));
		} else if (strcmp(argv[i - 1], "--run") == 0) {
			char number[16];

			snprintf(number, sizeof number, "%d", init_pid);
			setenv("INIT", number, 1);
			if (system(next) != 0)
				printf("{\"event\": \"run-failed\"}\n");
		} else {
			fprintf(stderr, "what is %s?\n", argv[i - 1]);
			return 99;
		}
	}
	if (init_pid > 0)
		kill(init_pid, SIGKILL);
	return 0;
}
