/* What stands around a container: the pod's namespaces, an attacker, a device program. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "driver.h"

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		printf("{\"event\": \"pod-failed\", \"errno\": %d}\n", errno);
		exit(98);
	}
	close(fd);
}

static int open_ns(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A process that holds the pod's namespaces until the driver ends; its child is the pod's PID 1. */
void make_pod(const char *kinds)
{
	int user = strstr(kinds, "user") != NULL, pid = strstr(kinds, "pid") != NULL, sync[2], back[2];
	char path[64], byte;
	pid_t holder;

	if (pipe2(sync, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
		exit(98);
	holder = fork();
	if (holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (user && unshare(CLONE_NEWUSER) < 0)
			exit(1);
		if (write(back[1], "u", 1) != 1 || read(sync[0], &byte, 1) != 1)
			exit(1);
		if (user && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
			exit(1);
		/* Changing ids has cleared it; and whoever reads the output must not wait for this process. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(1);
		close(2);
		if (unshare((strstr(kinds, "net") ? CLONE_NEWNET : 0) | (strstr(kinds, "ipc") ? CLONE_NEWIPC : 0) |
			    (strstr(kinds, "uts") ? CLONE_NEWUTS : 0) | (pid ? CLONE_NEWPID : 0)) < 0)
			exit(1);
		if (pid && fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		if (write(back[1], "n", 1) != 1)
			exit(1);
		for (;;)
			pause();
	}
	if (read(back[0], &byte, 1) != 1)
		exit(98);
	if (user) {
		snprintf(path, sizeof path, "/proc/%d/uid_map", holder);
		write_file(path, "0 100000 65536\n");
		snprintf(path, sizeof path, "/proc/%d/gid_map", holder);
		write_file(path, "0 100000 65536\n");
	}
	if (write(sync[1], "g", 1) != 1 || read(back[0], &byte, 1) != 1)
		exit(98);
	if (strstr(kinds, "net"))
		pod.net = open_ns(holder, "net");
	if (strstr(kinds, "ipc"))
		pod.ipc = open_ns(holder, "ipc");
	if (strstr(kinds, "uts"))
		pod.uts = open_ns(holder, "uts");
	if (pid)
		pod.pid = open_ns(holder, "pid_for_children");
	if (user)
		pod.user = open_ns(holder, "user");
}

void swap(const char *directory)
{
	char a[4096], b[4096];

	if (fork() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(a, sizeof a, "%s/a", directory);
	snprintf(b, sizeof b, "%s/b", directory);
	for (;;)
		syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */);
}

int load_denial(void)
{
	struct bpf_insn program[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attr;

	memset(&attr, 0, sizeof attr);
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)program;
	attr.insn_cnt = 2;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);
}
