/* The child's part of a plan as effects/native/encode-plan.ts writes it: little-endian, no padding, every string as
 * u32 length, bytes, NUL. Nothing is copied: all pointers point into the payload, which has to stay as it is.
 * plan_decode_* walk the whole message once and check every length, count and range, so that later walks can't fail. */
#ifndef BERTH_CHILD_PLAN_H
#define BERTH_CHILD_PLAN_H
#include <stddef.h>
#include <stdint.h>

#include "common/ops.gen.h"
#include "common/reader.h"

enum {
	PLAN_MAX_TEXT = 1 << 20,
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

/* `items` starts at the first of `count` items; walk a copy of it. */
struct list {
	uint32_t count;
	struct reader items;
};

struct namespaces {
	uint8_t network, ipc, uts, pid, cgroup, user, time;
	int32_t join_pid;
	int64_t monotonic, boottime;
};

struct cgroup_plan {
	uint8_t version;
	struct list join; /* text */
	struct list mkdirs; /* text */
	struct list writes; /* see write_next */
};

struct rootfs_plan {
	struct list lower; /* text */
	const char *upper, *work;
	uint8_t is_volatile, readonly, propagation;
};

struct op {
	uint8_t kind;
	const char *target;
	uint8_t attributes; /* fs, bind */
	uint8_t type; /* fs: FS_TYPE_*; device: 'c', 'b', 'p' */
	struct list options; /* fs: pairs, see option_next */
	const char *source; /* bind; symlink: what it points to; hook: the container's state, a JSON object */
	uint8_t flags, propagation; /* bind */
	struct list layers; /* bind with BIND_FLAG_LAYERS */
	uint32_t major, minor, mode, uid, gid; /* device; mkdir: mode */
	struct list args, env; /* hook: text; `target` is the program on the host */
	const char *mount_point; /* hook: a directory of the host; it finds the root there */
	uint32_t seconds; /* hook: that it may take, at least one */
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

struct launch_plan {
	const char *container;
	struct namespaces namespaces;
	struct cgroup_plan cgroup;
	struct rootfs_plan rootfs;
	struct list ops;
	uint8_t keep_stdin;
	struct process_plan process;
};

struct exec_plan {
	const char *container;
	struct cgroup_plan cgroup; /* version and join only */
	struct process_plan process;
};

/* 0 or -EBADMSG; *wrong then names the first field that is wrong. */
int plan_decode_launch(const uint8_t *bytes, size_t length, struct launch_plan *plan, const char **wrong);
int plan_decode_exec(const uint8_t *bytes, size_t length, struct exec_plan *plan, const char **wrong);

/* For walking a copy of a list's reader. */
const char *text_next(struct reader *items);
uint32_t number_next(struct reader *items);
void write_next(struct reader *items, const char **path, const char **value, uint32_t *length, int *optional);
void option_next(struct reader *items, const char **key, const char **value); /* value NULL: a flag */
void rlimit_next(struct reader *items, struct rlimit_plan *limit);
void op_next(struct reader *items, struct op *op);

#endif
