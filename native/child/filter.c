/* Whether a filter lets through what an exec still has to do after it was loaded. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "child/job.h"
#include "child/sys.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "which architecture's system calls are these?"
#endif

/* What the kernel would answer, for the instructions that libseccomp writes. Any other: it is not for us to say. */
static uint32_t verdict(const struct process_plan *plan, const struct seccomp_data *data)
{
	uint32_t count = plan->seccomp_bytes / (uint32_t)sizeof(struct sock_filter), accumulator = 0;

	for (uint32_t at = 0; at < count; at++) {
		struct sock_filter step;
		int taken = 0;

		memcpy(&step, plan->seccomp + at * sizeof step, sizeof step);
		switch (step.code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (step.k > sizeof *data - sizeof accumulator)
				return SECCOMP_RET_KILL_PROCESS;
			memcpy(&accumulator, (const char *)data + step.k, sizeof accumulator);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			accumulator &= step.k;
			continue;
		case BPF_RET | BPF_K:
			return step.k & SECCOMP_RET_ACTION_FULL;
		case BPF_JMP | BPF_JA:
			if (step.k >= count - at)
				return SECCOMP_RET_KILL_PROCESS;
			at += step.k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			taken = accumulator == step.k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			taken = accumulator > step.k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			taken = accumulator >= step.k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			taken = (accumulator & step.k) != 0;
			break;
		default:
			return SECCOMP_RET_KILL_PROCESS;
		}
		at += taken ? step.jt : step.jf;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

int filter_lets_exec_go_on(const struct process_plan *plan)
{
	static const struct {
		int number;
		uint64_t first, second;
	} calls[] = {
		{SYS_clone, CLONE_PARENT, 0},
		{SYS_prctl, PR_SET_PDEATHSIG, SIGKILL},
		{SYS_prctl, PR_SET_PDEATHSIG, 0},
		{SYS_prctl, PR_SET_DUMPABLE, 0},
#ifdef SYS_poll
		{SYS_poll, 0, 1},
#endif
		{SYS_ppoll, 0, 1},
		{SYS_umask, 0, 0},
		{SYS_sendmsg, 3, 0},
		{SYS_setsid, 0, 0},
		{SYS_ioctl, 0, TIOCSCTTY},
		{SYS_close, 3, 0},
		{SYS_mmap, 0, 4096},
		{SYS_newfstatat, (uint64_t)AT_FDCWD, 0},
		{SYS_faccessat, (uint64_t)AT_FDCWD, 0},
		{SYS_faccessat2, (uint64_t)AT_FDCWD, 0},
		{SYS_execve, 0, 0},
		{SYS_write, 3, 0},
		{SYS_exit_group, 1, 0},
	};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		struct seccomp_data data = {.nr = calls[i].number,
					    .arch = ARCHITECTURE,
					    .args = {calls[i].first, calls[i].second}};
		uint32_t answer = verdict(plan, &data);

		if (answer != SECCOMP_RET_ALLOW && answer != SECCOMP_RET_LOG)
			return 0;
	}
	return 1;
}
