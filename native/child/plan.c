#include "plan.h"

#include <errno.h>
#include <string.h>

static uint64_t number(struct reader *r, size_t width)
{
	const uint8_t *at = take(r, width);
	uint64_t value = 0;

	for (size_t i = 0; at != NULL && i < width; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

static uint8_t small(struct reader *r, uint8_t most)
{
	uint8_t value = (uint8_t)number(r, 1);

	if (value > most)
		r->bad = true;
	return value;
}

/* Counted text; `length` may be NULL if it can't hold a NUL. The result is never NULL, so that callers need no checks. */
static const char *text(struct reader *r, uint32_t most, uint32_t *length)
{
	uint32_t size = (uint32_t)number(r, 4);
	const char *at;

	if (size > most)
		r->bad = true;
	at = (const char *)take(r, (size_t)size + 1);
	if (at == NULL || at[size] != '\0' || memchr(at, '\0', size) != NULL) {
		r->bad = true;
		return "";
	}
	if (length != NULL)
		*length = size;
	return at;
}

static const char *path(struct reader *r)
{
	const char *at = text(r, 4095, NULL);

	if (at[0] != '/')
		r->bad = true;
	return at;
}

const char *text_next(struct reader *items)
{
	return text(items, PLAN_MAX_TEXT, NULL);
}

uint32_t number_next(struct reader *items)
{
	return (uint32_t)number(items, 4);
}

void write_next(struct reader *items, const char **file, const char **value, uint32_t *length, int *optional)
{
	*file = path(items);
	*value = text(items, 65536, length);
	*optional = small(items, 1);
}

void option_next(struct reader *items, const char **key, const char **value)
{
	uint8_t valued;

	*key = text(items, 255, NULL);
	valued = small(items, 1);
	*value = valued ? text(items, 4095, NULL) : NULL;
}

void rlimit_next(struct reader *items, struct rlimit_plan *limit)
{
	limit->resource = (uint32_t)number(items, 4);
	limit->soft = number(items, 8);
	limit->hard = number(items, 8);
	if (limit->soft > limit->hard)
		items->bad = true;
}

/* Walks over `count` items, so that the list is known to be well formed and the next field is found. */
static struct list list_of(struct reader *r, uint32_t most, void (*skip)(struct reader *))
{
	struct list list = {.count = (uint32_t)number(r, 4)};

	if (list.count > most)
		r->bad = true;
	list.items = *r;
	for (uint32_t i = 0; i < list.count && !r->bad; i++)
		skip(r);
	if (r->bad)
		list.count = 0;
	list.items.left = (size_t)(r->at - list.items.at);
	return list;
}

static void skip_text(struct reader *r)
{
	text_next(r);
}

static void skip_path(struct reader *r)
{
	path(r);
}

static void skip_number(struct reader *r)
{
	number_next(r);
}

static void skip_write(struct reader *r)
{
	const char *file, *value;
	uint32_t length;
	int optional;

	write_next(r, &file, &value, &length, &optional);
}

static void skip_option(struct reader *r)
{
	const char *key, *value;

	option_next(r, &key, &value);
}

static void skip_rlimit(struct reader *r)
{
	struct rlimit_plan limit;

	rlimit_next(r, &limit);
}

static void skip_op(struct reader *r)
{
	struct op op;

	op_next(r, &op);
}

static void bind_op(struct reader *items, struct op *op)
{
	op->flags = small(items, 127);
	op->attributes = small(items, 15);
	op->propagation = small(items, PROPAGATION_RSHARED);
	op->source = text(items, 4095, NULL);
	op->layers = list_of(items, PLAN_MAX_LAYERS, skip_path);
	if (op->flags & BIND_FLAG_LAYERS ? op->layers.count == 0 : op->source[0] != '/')
		items->bad = true;
}

static void device_op(struct reader *items, struct op *op)
{
	op->type = (uint8_t)number(items, 1);
	op->major = (uint32_t)number(items, 4);
	op->minor = (uint32_t)number(items, 4);
	op->mode = (uint32_t)number(items, 4);
	op->uid = (uint32_t)number(items, 4);
	op->gid = (uint32_t)number(items, 4);
	if ((op->type != 'c' && op->type != 'b' && op->type != 'p') || op->mode > 07777)
		items->bad = true;
}

static void hook_op(struct reader *items, struct op *op)
{
	op->args = list_of(items, PLAN_MAX_ARGS, skip_text);
	op->env = list_of(items, PLAN_MAX_ARGS, skip_text);
	op->source = text(items, PLAN_MAX_TEXT, NULL);
	op->mount_point = path(items);
	op->seconds = (uint32_t)number(items, 4);
	if (op->args.count == 0 || op->source[0] != '{' || op->seconds == 0 || op->seconds > 3600)
		items->bad = true;
}

void op_next(struct reader *items, struct op *op)
{
	*op = (struct op){.source = ""};
	op->kind = (uint8_t)number(items, 1);
	op->target = path(items);
	switch (op->kind) {
	case ROOT_OP_FS:
		op->type = small(items, FS_TYPE_CGROUP2);
		op->attributes = small(items, 15);
		op->options = list_of(items, PLAN_MAX_OPTIONS, skip_option);
		break;
	case ROOT_OP_BIND:
		bind_op(items, op);
		break;
	case ROOT_OP_DEVICE:
		device_op(items, op);
		break;
	case ROOT_OP_SYMLINK:
		op->source = text(items, 4095, NULL);
		break;
	case ROOT_OP_MKDIR:
		op->mode = (uint32_t)number(items, 4);
		if (op->mode > 07777)
			items->bad = true;
		break;
	case ROOT_OP_HOOK:
		hook_op(items, op);
		break;
	case ROOT_OP_MASK:
	case ROOT_OP_READONLY:
		break;
	default:
		items->bad = true;
	}
}

/* Notes the name of the first field after which the reader turned bad. */
static void field(const struct reader *r, const char *name, const char **wrong)
{
	if (r->bad && *wrong == NULL)
		*wrong = name;
}

static void namespaces(struct reader *r, struct namespaces *to)
{
	to->network = small(r, CHOICE_POD);
	to->ipc = small(r, CHOICE_POD);
	to->uts = small(r, CHOICE_POD);
	to->pid = small(r, CHOICE_JOIN);
	to->join_pid = (int32_t)number(r, 4);
	to->cgroup = small(r, CHOICE_NEW);
	to->user = small(r, CHOICE_POD);
	to->time = small(r, CHOICE_NEW);
	to->monotonic = (int64_t)number(r, 8);
	to->boottime = (int64_t)number(r, 8);
	if ((to->pid == CHOICE_JOIN) != (to->join_pid > 0) || to->cgroup == CHOICE_POD || to->time == CHOICE_POD)
		r->bad = true;
}

static void cgroup_start(struct reader *r, struct cgroup_plan *to)
{
	to->version = small(r, 2);
	to->join = list_of(r, PLAN_MAX_CGROUPS, skip_path);
	if (to->version == 0 || (to->version == 2 && to->join.count != 1))
		r->bad = true;
}

static void rootfs(struct reader *r, struct rootfs_plan *to)
{
	to->lower = list_of(r, PLAN_MAX_LAYERS, skip_path);
	to->upper = path(r);
	to->work = path(r);
	to->is_volatile = small(r, 1);
	to->readonly = small(r, 1);
	to->propagation = small(r, PROPAGATION_RSHARED);
	if (to->lower.count == 0)
		r->bad = true;
}

static void capabilities(struct reader *r, struct process_plan *to)
{
	to->bounding = number(r, 8);
	to->effective = number(r, 8);
	to->permitted = number(r, 8);
	to->inheritable = number(r, 8);
	to->ambient = number(r, 8);
}

static void process(struct reader *r, struct process_plan *to, const char **wrong)
{
	to->args = list_of(r, PLAN_MAX_ARGS, skip_text);
	if (to->args.count == 0)
		r->bad = true;
	field(r, "process.args", wrong);
	to->env = list_of(r, PLAN_MAX_ARGS, skip_text);
	field(r, "process.env", wrong);
	to->cwd = path(r);
	field(r, "process.cwd", wrong);
	to->uid = (uint32_t)number(r, 4);
	to->gid = (uint32_t)number(r, 4);
	/* -1 means "unchanged" to setresuid(2): a process that was to lose root would keep it. */
	if (to->uid == UINT32_MAX || to->gid == UINT32_MAX)
		r->bad = true;
	to->groups = list_of(r, PLAN_MAX_GROUPS, skip_number);
	field(r, "process.groups", wrong);
	to->umask = (uint32_t)number(r, 4);
	if (to->umask > 0777)
		r->bad = true;
	capabilities(r, to);
	to->no_new_privileges = small(r, 1);
	to->tty = small(r, 1);
	to->has_oom_score_adj = small(r, 1);
	to->oom_score_adj = (int32_t)number(r, 4);
	if (to->oom_score_adj < -1000 || to->oom_score_adj > 1000)
		r->bad = true;
	field(r, "process.capabilities", wrong);
	to->seccomp_bytes = (uint32_t)number(r, 4);
	if (to->seccomp_bytes % 8 != 0 || to->seccomp_bytes > PLAN_MAX_SECCOMP * 8)
		r->bad = true;
	to->seccomp = take(r, to->seccomp_bytes);
	field(r, "process.seccomp", wrong);
	to->apparmor = text(r, 4095, NULL);
	to->selinux = text(r, 4095, NULL);
	field(r, "process.labels", wrong);
	to->rlimits = list_of(r, PLAN_MAX_RLIMITS, skip_rlimit);
	field(r, "process.rlimits", wrong);
}

static int finish(const struct reader *r, const char **wrong)
{
	if (!r->bad && r->left == 0)
		return 0;
	if (*wrong == NULL)
		*wrong = "length";
	return -EBADMSG;
}

static void start(struct reader *r, uint32_t magic, const char **container, const char **wrong)
{
	*wrong = NULL;
	if (number(r, 4) != magic)
		r->bad = true;
	field(r, "magic", wrong);
	*container = text(r, 255, NULL);
	field(r, "containerId", wrong);
}

int plan_decode_launch(const uint8_t *bytes, size_t length, struct launch_plan *plan, const char **wrong)
{
	struct reader r = {.at = bytes, .left = length};

	*plan = (struct launch_plan){0};
	start(&r, PLAN_MAGIC_LAUNCH, &plan->container, wrong);
	namespaces(&r, &plan->namespaces);
	field(&r, "namespaces", wrong);
	cgroup_start(&r, &plan->cgroup);
	plan->cgroup.mkdirs = list_of(&r, PLAN_MAX_CGROUPS, skip_path);
	plan->cgroup.writes = list_of(&r, PLAN_MAX_WRITES, skip_write);
	field(&r, "cgroup", wrong);
	rootfs(&r, &plan->rootfs);
	field(&r, "rootfs", wrong);
	plan->ops = list_of(&r, PLAN_MAX_OPS, skip_op);
	field(&r, "ops", wrong);
	plan->keep_stdin = small(&r, 1);
	field(&r, "io", wrong);
	process(&r, &plan->process, wrong);
	return finish(&r, wrong);
}

int plan_decode_exec(const uint8_t *bytes, size_t length, struct exec_plan *plan, const char **wrong)
{
	struct reader r = {.at = bytes, .left = length};

	*plan = (struct exec_plan){0};
	start(&r, PLAN_MAGIC_EXEC, &plan->container, wrong);
	cgroup_start(&r, &plan->cgroup);
	field(&r, "cgroup", wrong);
	process(&r, &plan->process, wrong);
	return finish(&r, wrong);
}
