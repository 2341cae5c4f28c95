/* A plan as effects/native/encode-plan.ts writes it, for monitor and child alike. Nothing is copied: all pointers point into
 * the message, which has to stay as it is. plan_decode_* walk the whole of it once and check every length, count and range,
 * so that later walks can't fail. */
#ifndef BERTH_CHILD_PLAN_H
#define BERTH_CHILD_PLAN_H
#include "common/ops.gen.h"
#include "common/reader.h"

enum {
	PLAN_MAX_ARGS = 65536, /* args and env each; the kernel bounds their bytes */
	PLAN_MAX_OPS = 4096,
	PLAN_MAX_LAYERS = 500, /* overlay's own bound */
	PLAN_MAX_CGROUPS = 64, /* one bit each in struct child */
	PLAN_MAX_WRITES = 4096,
	PLAN_MAX_GROUPS = 65536, /* NGROUPS_MAX */
	PLAN_MAX_OPTIONS = 64,
	PLAN_MAX_RLIMITS = 64,
	PLAN_MAX_SECCOMP = 4096, /* instructions: BPF_MAXINSNS */
};

struct namespaces {
	uint8_t network, ipc, uts, pid, cgroup, user, time;
	int32_t join_pid;
	int64_t monotonic, boottime;
};

struct cgroup_plan {
	uint8_t version;
	struct list join; /* text; all of a v1 container's groups have the same members, and v2 has one */
	struct list mkdirs; /* text */
	struct list writes; /* see take_write */
};

struct rootfs_plan {
	struct list lower; /* text */
	const char *upper, *work;
	uint8_t is_volatile, readonly;
	uint32_t propagation; /* MS_PRIVATE, MS_SLAVE or MS_SHARED */
};

struct op {
	uint8_t kind;
	const char *target;
	uint8_t attributes; /* fs, bind: MOUNT_ATTR_* */
	const char *source; /* fs: its type; bind; symlink: what it points to; hook: the container's state, a JSON object */
	struct list options; /* fs: see take_option */
	uint8_t flags; /* bind: BIND_FLAG_* */
	uint32_t propagation; /* bind: as in rootfs_plan */
	struct list layers; /* bind with BIND_FLAG_LAYERS */
	uint8_t type; /* device: 'c', 'b', 'p' */
	uint32_t major, minor, mode, uid, gid; /* device; mkdir: mode */
	struct list args, env; /* hook: text; `target` is the program on the host */
	const char *mount_point; /* hook: a directory of the host; it finds the root there */
	uint32_t seconds; /* hook: that it may take, at least one */
};

struct cgroup_write {
	const char *path, *value;
	uint8_t optional;
};

struct mount_option {
	const char *key, *value; /* value NULL: a flag */
};

struct rlimit_plan {
	uint32_t resource;
	uint64_t soft, hard;
};

struct process_plan {
	struct list args, env; /* text */
	const char *cwd;
	uint32_t uid, gid;
	struct list groups; /* u32 */
	uint32_t umask;
	uint64_t bounding, effective, permitted, inheritable, ambient;
	uint8_t no_new_privileges, tty, has_oom_score_adj;
	int32_t oom_score_adj;
	const uint8_t *seccomp;
	uint32_t seccomp_bytes;
	const char *apparmor, *selinux;
	struct list rlimits;
};

/* For the monitor; paths are "" when there is none. */
struct io_plan {
	uint8_t stdin_kept, stdin_once;
	uint32_t max_log_line;
	const char *log_path, *exit_file, *oom_file;
};

struct launch_plan {
	const char *container;
	struct io_plan io;
	struct namespaces namespaces;
	struct cgroup_plan cgroup;
	struct rootfs_plan rootfs;
	struct list ops;
	struct process_plan process;
};

struct exec_plan {
	const char *container;
	struct cgroup_plan cgroup; /* version and join only */
	struct process_plan process;
};

/* False: malformed, where the reader stands. */
bool plan_decode_launch(struct reader *r, struct launch_plan *plan);
bool plan_decode_exec(struct reader *r, struct exec_plan *plan);

/* Also a part of a pod's spec. */
void plan_take_cgroup(struct reader *r, struct cgroup_plan *to);

/* For walking a copy of a list's reader. */
struct cgroup_write take_write(struct reader *r);
struct mount_option take_option(struct reader *r);
struct rlimit_plan take_rlimit(struct reader *r);
struct op take_op(struct reader *r);

#endif
