/* What the steps of making one process share. Everything here lives in the child's copy of the monitor's memory. */
#ifndef BERTH_CHILD_JOB_H
#define BERTH_CHILD_JOB_H
#include <stdarg.h>


#include "child/child.h"
#include "child/plan.h"

struct job {
	const struct launch_plan *launch; /* NULL in an exec */
	const struct process_plan *process;
	const struct cgroup_plan *cgroup;
	const char *container;
	int status; /* our end of the socket */
	struct pod_namespaces ns;
	pid_t init; /* exec: the container's init */
	int init_pidfd;
	int in, out, err; /* -1: /dev/null */
	int proc; /* the host's /proc as O_PATH; nothing in a container can put anything over or into it */
	int null; /* the host's /dev/null as O_PATH, verified */
	int null_tree; /* a copy of its mount, for masks */
	int root; /* the rootfs */
	int terminal; /* pty master, -1 */
	int userns; /* the process gets a user namespace other than the monitor's */
};

/* report.c */
void report_to(int status); /* before any of the following */
void report_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_pid(void);
void report_ready(int terminal);
_Noreturn void fail(const char *stage, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* receive.c: a socketpair, [0] the monitor's, on which the kernel names each sender */
int status_pair(int ends[2]);

/* path.c: paths under a root that somebody else controls. All give an O_PATH fd, or -1 and errno. */
enum want { WANT_DIRECTORY, WANT_FILE };
int root_open(int root, const char *path, uint64_t flags, uint64_t resolve);
int root_make(int root, const char *path, enum want want, mode_t mode);
/* The directory that holds the last component; *name points to that in `path`. Missing directories are made. */
int root_parent(int root, const char *path, const char **name);

/* cgroup.c */
bool cgroup_prepare(const struct cgroup_plan *plan, int device_program, uint64_t *made, int *directory, struct child_report *failed);
void cgroup_discard(const struct cgroup_plan *plan, uint64_t made);
int cgroup_open_for_exec(const struct cgroup_plan *plan);
int cgroup_open_of(pid_t pid, const char *near);
void cgroup_join_v1(const struct cgroup_plan *plan);

/* overlay.c */
int overlay_mount(const struct list *lower, const struct rootfs_plan *writable);

/* source.c: what has to be done with the host's rights and the host's paths */
void sources_open(struct job *job);
int source_of(uint32_t op); /* the prepared tree of the n-th operation, -1 if it needs none */
void sources_idmap_over(struct job *job, const char *path);
int directory_of(const char *path, char *to, size_t size);

/* rootfs.c, op.c: in the container's own mount namespace */
void rootfs_attach(struct job *job);
void rootfs_ops(struct job *job);
/* Attaches `tree` over a file of that name, which is made if need be; neither side is a path. */
int bind_over(int parent, const char *name, int tree);
void rootfs_enter(struct job *job);

/* hook.c */
void hook_run(const struct job *job, const struct op *op);

/* terminal.c */
void terminal_console(struct job *job);
void terminal_open(struct job *job, int root);

/* process.c, limits.c, command.c: the process itself */
void process_begin(struct job *job, const int *keep, size_t count);
void process_start(const struct job *job);
void process_dress(struct job *job);
void process_settle(const struct job *job);
void oom_score_adjust(struct job *job);
void rlimits_raise(const struct process_plan *plan);
void rlimits_set(const struct process_plan *plan);
void capabilities_bound(const struct process_plan *plan);
void capabilities_set(const struct process_plan *plan, uint64_t more);
void capabilities_ambient(const struct process_plan *plan);
int command_needs_admin(const struct process_plan *plan);
char **list_vector(const struct list *list); /* for execve(2); fails the plan when there is no memory */
void command_confine(const struct process_plan *plan);
_Noreturn void command_run(const struct process_plan *plan, int is_confined);

/* filter.c */
int filter_lets_exec_go_on(const struct process_plan *plan);

/* namespace.c */
void host_handles(struct job *job);
int reopen(const struct job *job, int fd, int flags);
pid_t clone_sibling(uint64_t flags);
void namespaces_join_pod(struct job *job);
void namespaces_become_root(void);
void close_all_but(const int *keep, size_t count);
pid_t pid_on_host(const struct job *job);

#endif
