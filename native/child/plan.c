#include "child/plan.h"

#include <limits.h>
#include <sys/mount.h>

enum { MAX_NAME = 127, ALL_ATTRIBUTES = 15, ALL_BIND_FLAGS = 255, MAX_MODE = 07777 };

struct cgroup_write take_write(struct reader *r)
{
	const char *path = take_path(r), *value = take_text(r);

	return (struct cgroup_write){path, value, take_u8(r, 1)};
}

struct mount_option take_option(struct reader *r)
{
	const char *key = take_short(r, 255);

	return (struct mount_option){key, take_u8(r, 1) ? take_short(r, PATH_MAX - 1) : NULL};
}

struct rlimit_plan take_rlimit(struct reader *r)
{
	struct rlimit_plan limit = {.resource = take_u32(r)};

	limit.soft = take_u64(r);
	limit.hard = take_u64(r);
	r->bad |= limit.soft > limit.hard;
	return limit;
}

static uint32_t take_propagation(struct reader *r)
{
	uint32_t value = take_u32(r);

	r->bad |= value != MS_PRIVATE && value != MS_SLAVE && value != MS_SHARED;
	return value;
}

static uint32_t take_mode(struct reader *r, uint32_t most)
{
	uint32_t mode = take_u32(r);

	r->bad |= mode > most;
	return mode;
}

static void skip_number(struct reader *r)
{
	take_u32(r);
}

static void skip_write(struct reader *r)
{
	take_write(r);
}

static void skip_option(struct reader *r)
{
	take_option(r);
}

static void skip_rlimit(struct reader *r)
{
	take_rlimit(r);
}

static void skip_op(struct reader *r)
{
	take_op(r);
}

static void take_bind(struct reader *r, struct op *op)
{
	op->flags = take_u8(r, ALL_BIND_FLAGS);
	op->attributes = take_u8(r, ALL_ATTRIBUTES);
	op->propagation = take_propagation(r);
	op->source = take_short(r, PATH_MAX - 1);
	op->layers = take_list(r, PLAN_MAX_LAYERS, skip_path);
	r->bad |= op->flags & BIND_FLAG_LAYERS ? op->layers.count == 0 : op->source[0] != '/';
}

static void take_device(struct reader *r, struct op *op)
{
	op->type = take_u8(r, 'p');
	op->major = take_u32(r);
	op->minor = take_u32(r);
	op->mode = take_mode(r, MAX_MODE);
	op->uid = take_u32(r);
	op->gid = take_u32(r);
	r->bad |= op->type != 'c' && op->type != 'b' && op->type != 'p';
}

static void take_hook(struct reader *r, struct op *op)
{
	op->args = take_list(r, PLAN_MAX_ARGS, skip_text);
	op->env = take_list(r, PLAN_MAX_ARGS, skip_text);
	op->source = take_text(r);
	op->mount_point = take_path(r);
	op->seconds = take_u32(r);
	r->bad |= op->args.count == 0 || op->source[0] != '{' || op->seconds == 0 || op->seconds > 3600;
}

struct op take_op(struct reader *r)
{
	struct op op = {.source = "", .kind = take_u8(r, ROOT_OP_HOOK)};

	op.target = take_path(r);
	switch (op.kind) {
	case ROOT_OP_FS:
		op.source = take_short(r, MAX_NAME);
		op.attributes = take_u8(r, ALL_ATTRIBUTES);
		op.options = take_list(r, PLAN_MAX_OPTIONS, skip_option);
		break;
	case ROOT_OP_BIND:
		take_bind(r, &op);
		break;
	case ROOT_OP_DEVICE:
		take_device(r, &op);
		break;
	case ROOT_OP_SYMLINK:
		op.source = take_short(r, PATH_MAX - 1);
		break;
	case ROOT_OP_MKDIR:
		op.mode = take_mode(r, MAX_MODE);
		break;
	case ROOT_OP_HOOK:
		take_hook(r, &op);
		break;
	case ROOT_OP_MASK:
	case ROOT_OP_READONLY:
		break;
	default:
		r->bad = true;
	}
	return op;
}

static void take_io(struct reader *r, struct io_plan *to)
{
	to->stdin_kept = take_u8(r, 1);
	to->stdin_once = take_u8(r, 1);
	to->max_log_line = take_u32(r);
	to->log_path = take_short(r, PATH_MAX - 1);
	to->exit_file = take_short(r, PATH_MAX - 1);
	to->oom_file = take_short(r, PATH_MAX - 1);
}

static void take_namespaces(struct reader *r, struct namespaces *to)
{
	to->network = take_u8(r, CHOICE_POD);
	to->ipc = take_u8(r, CHOICE_POD);
	to->uts = take_u8(r, CHOICE_POD);
	to->pid = take_u8(r, CHOICE_JOIN);
	to->join_pid = (int32_t)take_u32(r);
	to->cgroup = take_u8(r, CHOICE_NEW);
	to->user = take_u8(r, CHOICE_POD);
	to->time = take_u8(r, CHOICE_NEW);
	to->monotonic = (int64_t)take_u64(r);
	to->boottime = (int64_t)take_u64(r);
	r->bad |= (to->pid == CHOICE_JOIN) != (to->join_pid > 0) || to->cgroup == CHOICE_POD || to->time == CHOICE_POD;
}

static void take_join(struct reader *r, struct cgroup_plan *to)
{
	to->version = take_u8(r, 2);
	to->join = take_list(r, PLAN_MAX_CGROUPS, skip_path);
	r->bad |= to->version == 0 || (to->version == 2 && to->join.count != 1);
}

void plan_take_cgroup(struct reader *r, struct cgroup_plan *to)
{
	take_join(r, to);
	to->mkdirs = take_list(r, PLAN_MAX_CGROUPS, skip_path);
	to->writes = take_list(r, PLAN_MAX_WRITES, skip_write);
}

static void take_rootfs(struct reader *r, struct rootfs_plan *to)
{
	to->lower = take_list(r, PLAN_MAX_LAYERS, skip_path);
	to->upper = take_path(r);
	to->work = take_path(r);
	to->is_volatile = take_u8(r, 1);
	to->readonly = take_u8(r, 1);
	to->propagation = take_propagation(r);
	r->bad |= to->lower.count == 0;
}

static void take_process(struct reader *r, struct process_plan *to)
{
	to->args = take_list(r, PLAN_MAX_ARGS, skip_text);
	to->env = take_list(r, PLAN_MAX_ARGS, skip_text);
	to->cwd = take_path(r);
	to->uid = take_u32(r);
	to->gid = take_u32(r);
	/* -1 means "unchanged" to setresuid(2): a process that was to lose root would keep it. */
	r->bad |= to->args.count == 0 || to->uid == UINT32_MAX || to->gid == UINT32_MAX;
	to->groups = take_list(r, PLAN_MAX_GROUPS, skip_number);
	to->umask = take_mode(r, 0777);
	to->bounding = take_u64(r);
	to->effective = take_u64(r);
	to->permitted = take_u64(r);
	to->inheritable = take_u64(r);
	to->ambient = take_u64(r);
	to->no_new_privileges = take_u8(r, 1);
	to->tty = take_u8(r, 1);
	to->has_oom_score_adj = take_u8(r, 1);
	to->oom_score_adj = (int32_t)take_u32(r);
	to->seccomp = take_bytes(r, &to->seccomp_bytes);
	r->bad |= to->oom_score_adj < -1000 || to->oom_score_adj > 1000 || to->seccomp_bytes % 8 != 0 ||
		  to->seccomp_bytes > PLAN_MAX_SECCOMP * 8;
	to->apparmor = take_short(r, PATH_MAX - 1);
	to->selinux = take_short(r, PATH_MAX - 1);
	to->rlimits = take_list(r, PLAN_MAX_RLIMITS, skip_rlimit);
}

bool plan_decode_launch(struct reader *r, struct launch_plan *plan)
{
	*plan = (struct launch_plan){0};
	r->bad |= take_u32(r) != PLAN_MAGIC_LAUNCH;
	plan->container = take_short(r, MAX_NAME);
	take_io(r, &plan->io);
	take_namespaces(r, &plan->namespaces);
	plan_take_cgroup(r, &plan->cgroup);
	take_rootfs(r, &plan->rootfs);
	plan->ops = take_list(r, PLAN_MAX_OPS, skip_op);
	take_process(r, &plan->process);
	return !r->bad && r->left == 0;
}

bool plan_decode_exec(struct reader *r, struct exec_plan *plan)
{
	*plan = (struct exec_plan){0};
	r->bad |= take_u32(r) != PLAN_MAGIC_EXEC;
	plan->container = take_short(r, MAX_NAME);
	take_join(r, &plan->cgroup);
	take_process(r, &plan->process);
	return !r->bad && r->left == 0;
}
