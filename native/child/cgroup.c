#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "child/job.h"
#include "child/sys.h"

static int make_directories(const struct cgroup_plan *plan, uint64_t *made, struct child_report *failed)
{
	struct reader items = plan->mkdirs.items;

	for (uint32_t i = 0; i < plan->mkdirs.count; i++) {
		const char *path = text_next(&items);

		if (mkdir(path, 0755) == 0) {
			*made |= UINT64_C(1) << i;
		} else if (errno != EEXIST) {
			report_fill(failed, "cgroup", errno, "mkdir %s", path);
			return -failed->error;
		}
	}
	return 0;
}

static int write_whole(const char *path, const char *value, size_t length)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t wrote;
	int error;

	if (fd < 0)
		return -errno;
	wrote = write(fd, value, length);
	error = wrote < 0 ? errno : 0;
	close(fd);
	return error == 0 && (size_t)wrote != length ? -EIO : -error;
}

/* An optional write is a default of ours: a kernel without that controller, file or value goes without it. */
static int may_be_missing(int error)
{
	switch (error) {
	case -ENOENT:
	case -EINVAL:
	case -EOPNOTSUPP:
	case -EACCES:
	case -EPERM:
	case -ENODEV:
	case -EBUSY:
	case -ERANGE:
		return 1;
	default:
		return 0;
	}
}

static int write_settings(const struct cgroup_plan *plan, struct child_report *failed)
{
	struct reader items = plan->writes.items;

	for (uint32_t i = 0; i < plan->writes.count; i++) {
		const char *path, *value;
		uint32_t length;
		int optional, error;

		write_next(&items, &path, &value, &length, &optional);
		error = write_whole(path, value, length);
		if (error < 0 && !(optional && may_be_missing(error))) {
			report_fill(failed, "cgroup", -error, "write \"%.120s\" to %s", value, path);
			return error;
		}
	}
	return 0;
}

static int attach_devices(int directory, int program)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof attr);
	attr.target_fd = (uint32_t)directory;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof attr) < 0 ? -errno : 0;
}

static int open_group(const struct cgroup_plan *plan, int device_program, int *directory, struct child_report *failed)
{
	struct reader items = plan->join.items;
	const char *path = text_next(&items);
	int error;

	*directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*directory < 0) {
		report_fill(failed, "cgroup", errno, "open %s", path);
		return -failed->error;
	}
	if (device_program < 0)
		return 0;
	/* BPF_PROG_ATTACH wants a readable fd; clone3 takes either. */
	close(*directory);
	*directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error = *directory < 0 ? -errno : attach_devices(*directory, device_program);
	if (error < 0)
		report_fill(failed, "cgroup", -error, "attach the device program to %s", path);
	return error;
}

int cgroup_prepare(const struct cgroup_plan *plan, int device_program, uint64_t *made, int *directory, struct child_report *failed)
{
	int error;

	*made = 0;
	*directory = -1;
	error = make_directories(plan, made, failed);
	if (error == 0)
		error = write_settings(plan, failed);
	if (error == 0 && plan->version == 2)
		error = open_group(plan, device_program, directory, failed);
	if (error < 0) {
		if (*directory >= 0)
			close(*directory);
		cgroup_discard(plan, *made);
	}
	return error;
}

/* Children first. What can't be removed has processes or children that are not ours. */
void cgroup_discard(const struct cgroup_plan *plan, uint64_t made)
{
	for (uint32_t i = plan->mkdirs.count; i-- > 0;) {
		struct reader items = plan->mkdirs.items;
		const char *path = text_next(&items);

		for (uint32_t j = 0; j < i; j++)
			path = text_next(&items);
		if (made & UINT64_C(1) << i)
			rmdir(path);
	}
}

int cgroup_open_for_exec(const struct cgroup_plan *plan)
{
	struct reader items = plan->join.items;

	return open(text_next(&items), O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The v2 root that `near` lies under: the last directory of its file system on the way up. */
static int hierarchy_root(const char *near)
{
	int at = open(near, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat here, above;

	while (at >= 0) {
		int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (up < 0 || fstat(at, &here) < 0 || fstat(up, &above) < 0) {
			close(at);
			close(up);
			return -1;
		}
		if (here.st_dev != above.st_dev) {
			close(up);
			return at;
		}
		close(at);
		if (here.st_ino == above.st_ino)
			return up;
		at = up;
	}
	return -1;
}

/* The v2 group that `pid` is in now. A group with children can't take processes (systemd inside moves itself down). */
int cgroup_open_of(pid_t pid, const char *near)
{
	char path[64], text[4096], *line;
	int fd, root, group;
	ssize_t size;

	snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size = read(fd, text, sizeof text - 1);
	close(fd);
	text[size < 0 ? 0 : size] = '\0';
	line = strncmp(text, "0::/", 4) == 0 ? text : strstr(text, "\n0::/");
	if (line == NULL) {
		errno = ENOENT;
		return -1;
	}
	line = strchr(line, '/') + 1;
	line[strcspn(line, "\n")] = '\0';
	root = hierarchy_root(near);
	if (root < 0)
		return -1;
	group = sys_openat2(root, *line ? line : ".", O_PATH | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	close(root);
	return group;
}

/* Writing "0" moves the writing thread itself, which takes no lock of the whole system: 0.1 ms for all hierarchies, where
 * one write of a pid to cgroup.procs waits some 12 ms for an RCU grace period. It needs a process with one thread. */
void cgroup_join_v1(const struct cgroup_plan *plan)
{
	struct reader items = plan->join.items;

	for (uint32_t i = 0; i < plan->join.count; i++) {
		const char *group = text_next(&items);
		char path[4096 + 8];
		int error;

		snprintf(path, sizeof path, "%s/tasks", group);
		error = write_whole(path, "0", 1);
		if (error < 0)
			fail("cgroup", -error, "join %s", path);
	}
}

void child_discard_cgroups(const uint8_t *bytes, size_t length, const struct child *made)
{
	struct launch_plan plan;
	const char *wrong;

	if (plan_decode_launch(bytes, length, &plan, &wrong) == 0)
		cgroup_discard(&plan.cgroup, made->made_cgroups);
}
