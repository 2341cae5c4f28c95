#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "child/job.h"
#include "child/sys.h"
#include "common/io.h"

static bool make_directories(const struct cgroup_plan *plan, uint64_t *made, struct child_report *failed)
{
	struct reader items = plan->mkdirs.items;

	for (uint32_t i = 0; i < plan->mkdirs.count; i++) {
		const char *path = take_text(&items);

		if (mkdir(path, 0755) == 0)
			*made |= UINT64_C(1) << i;
		else if (errno != EEXIST)
			return failure(failed, "cgroup", errno, "mkdir %s", path);
	}
	return true;
}

/* An optional write is a default of ours: a kernel without that controller, file or value goes without it. */
static bool may_be_missing(int error)
{
	switch (error) {
	case ENOENT:
	case EINVAL:
	case EOPNOTSUPP:
	case EACCES:
	case EPERM:
	case ENODEV:
	case EBUSY:
	case ERANGE:
		return true;
	default:
		return false;
	}
}

static bool write_settings(const struct cgroup_plan *plan, struct child_report *failed)
{
	struct reader items = plan->writes.items;

	for (uint32_t i = 0; i < plan->writes.count; i++) {
		struct cgroup_write want = take_write(&items);

		if (!write_file(want.path, want.value, strlen(want.value)) && !(want.optional && may_be_missing(errno)))
			return failure(failed, "cgroup", errno, "write \"%.120s\" to %s", want.value, want.path);
	}
	return true;
}

static bool attach_devices(int directory, int program)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof attr);
	attr.target_fd = (uint32_t)directory;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof attr) == 0;
}

static bool open_group(const struct cgroup_plan *plan, int device_program, int *directory, struct child_report *failed)
{
	struct reader items = plan->join.items;
	const char *path = take_text(&items);

	/* BPF_PROG_ATTACH wants a readable fd; clone3 takes either. */
	*directory = open(path, (device_program < 0 ? O_PATH : O_RDONLY) | O_DIRECTORY | O_CLOEXEC);
	if (*directory < 0)
		return failure(failed, "cgroup", errno, "open %s", path);
	if (device_program >= 0 && !attach_devices(*directory, device_program))
		return failure(failed, "cgroup", errno, "attach the device program to %s", path);
	return true;
}

bool cgroup_prepare(const struct cgroup_plan *plan, int device_program, uint64_t *made, int *directory, struct child_report *failed)
{
	*made = 0;
	*directory = -1;
	if (make_directories(plan, made, failed) && write_settings(plan, failed) &&
	    (plan->version != 2 || open_group(plan, device_program, directory, failed)))
		return true;
	close_calmly(*directory);
	cgroup_discard(plan, *made);
	return false;
}

/* Children first. What can't be removed has processes or children that are not ours. */
void cgroup_discard(const struct cgroup_plan *plan, uint64_t made)
{
	for (uint32_t i = plan->mkdirs.count; i-- > 0;) {
		struct reader items = plan->mkdirs.items;
		const char *path = take_text(&items);

		for (uint32_t j = 0; j < i; j++)
			path = take_text(&items);
		/* Just after its last process was reaped a group may be busy for a moment. */
		for (int tries = 0; made & UINT64_C(1) << i && tries < 50 && rmdir(path) < 0 && errno == EBUSY; tries++)
			usleep(2000);
	}
}

int cgroup_open_for_exec(const struct cgroup_plan *plan)
{
	struct reader items = plan->join.items;

	return open(take_text(&items), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The v2 group that `pid` is in now, which is `own` or lies below it. A group with children can't take processes (systemd inside
 * moves itself down). The kernel names it from the hierarchy's root, so its name goes on where it shares an end with `own`. */
int cgroup_open_of(pid_t pid, const char *own)
{
	char path[64], text[4096];
	const char *line, *below = NULL;
	int above, group;

	snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
	if (read_file(path, text, sizeof text) < 0)
		return -1;
	line = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");
	if (line != NULL) {
		size_t whole, length = strlen(own);

		line = strchr(line, '/');
		whole = strcspn(line, "\n");
		text[line - text + whole] = '\0';
		for (size_t n = whole; n > 0 && below == NULL; n--)
			if ((line[n] == '/' || n == whole) && n <= length && memcmp(own + length - n, line, n) == 0)
				below = line + n + (n < whole);
	}
	above = open(own, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (below == NULL || above < 0) {
		errno = above < 0 ? errno : ENOENT;
		return -1;
	}
	group = sys_openat2(above, *below ? below : ".", O_PATH | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	close(above);
	return group;
}

/* Writing "0" moves the writing thread itself, which takes no lock of the whole system: 0.1 ms for all hierarchies, where
 * one write of a pid to cgroup.procs waits some 12 ms for an RCU grace period. It needs a process with one thread. */
void cgroup_join_v1(const struct cgroup_plan *plan)
{
	struct reader items = plan->join.items;

	for (uint32_t i = 0; i < plan->join.count; i++) {
		const char *group = take_text(&items);
		char path[4096 + 8];

		snprintf(path, sizeof path, "%s/tasks", group);
		if (!write_file(path, "0", 1))
			fail("cgroup", errno, "join %s", path);
	}
}

void child_discard_cgroups(struct reader plan, const struct child *made)
{
	struct launch_plan decoded;

	if (plan_decode_launch(&plan, &decoded))
		cgroup_discard(&decoded.cgroup, made->made_cgroups);
}
