/* The boundary between the monitor (which owns processes, logs and records) and the child code (which makes one process).
 *
 * child_create and child_exec return at once, after the clone: the child does its mount work by itself while the monitor's
 * loop goes on. They talk over `status`, a SOCK_SEQPACKET socketpair; one packet is one struct child_report (then text).
 *
 *   child                          monitor
 *   CHILD_PID ->                              only if an intermediate made it (userns, time namespace, joined PID namespace;
 *                                             every exec). It comes from the process itself, so always before its READY.
 *                                             The intermediate then ends with status 0 and has to be reaped.
 *   CHILD_READY (+ pty master by SCM_RIGHTS if tty) ->    `text` may hold a warning, else it is empty. Execs send it too.
 *                               <- one byte   "start": exec now (child_exec needs none)
 *   (end of file: execve worked) ->
 *   CHILD_FAILED {stage, errno, text} ->      at any time; the child then exits with status 1. Stage "exec" means that the
 *                                             command itself is at fault: ENOENT is a shell's 127, anything else its 126.
 *
 * If the monitor's end closes (it died), a process that waits for "start" ends by itself.
 */
#ifndef BERTH_CHILD_H
#define BERTH_CHILD_H
#include <sys/types.h>

#include "child/plan.h"

/* fds of the pod's namespaces as the monitor holds them; -1 means the host's. */
struct pod_namespaces {
	int net, ipc, uts, pid, user;
};

enum child_kind { CHILD_PID = 1, CHILD_READY = 2, CHILD_FAILED = 3 };

struct child_report {
	uint32_t kind;
	int32_t pid; /* of the sender, in the receiver's PID namespace; filled by child_receive */
	int32_t error; /* errno, 0 when there is none */
	char stage[32]; /* CHILD_FAILED: NUL-terminated name of the step, e.g. "mount", "user", "exec" */
	char text[468]; /* CHILD_FAILED: NUL-terminated, for people: names the path or value */
};

struct child {
	pid_t pid; /* the cloned process: the init itself, or the intermediate until CHILD_PID */
	int pidfd;
	int intermediate; /* 1 until CHILD_PID has told the real pid */
	int status; /* monitor's end, non-blocking */
	int in, out, err; /* monitor's ends of the stdio pipes, non-blocking, O_CLOEXEC; -1 when there is none (tty: all -1) */
	uint64_t made_cgroups; /* bit n: child_create itself made the plan's n-th cgroup directory */
};

#define NO_CHILD ((struct child){.pid = -1, .pidfd = -1, .status = -1, .in = -1, .out = -1, .err = -1})

/* What child_exec's process gets as stdio: fds that the caller made; -1 is /dev/null. With tty they are ignored. */
struct child_stdio {
	int in, out, err;
};

/* One packet of `status`: its length, 0 at the end, -1 and errno. A pty master replaces what *terminal held. */
ssize_t child_receive(int status, int flags, struct child_report *report, int *terminal);

/* Fills it in as CHILD_FAILED; gives false, so that a step can return it. */
bool failure(struct child_report *report, const char *stage, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* On error they give false, fill `failed`, and leave nothing behind. device_program is an fd or -1. */
bool child_create(const struct pod_namespaces *ns, const struct launch_plan *plan, int device_program, struct child *made,
		 struct child_report *failed);
bool child_exec(const struct pod_namespaces *ns, pid_t init, int init_pidfd, const struct exec_plan *plan,
	       const struct child_stdio *stdio, struct child *made, struct child_report *failed);

/* After a CHILD_FAILED (and once the process is reaped): removes the cgroup directories that this very child_create made. */
void child_discard_cgroups(struct reader plan, const struct child *made);

#endif
