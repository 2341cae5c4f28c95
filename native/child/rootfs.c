#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <linux/magic.h>

#include "child/job.h"
#include "child/sys.h"

/* Over "/", as that is the one directory that every process may reach, also from inside a user namespace. What is
 * under it stays visible by name (a path's walk starts at the old root itself), and goes with rootfs_enter. */
void rootfs_attach(struct job *job)
{
	if (sys_attach_at(job->root, "/") < 0)
		fail("rootfs", errno, "attach the root file system");
}

/* The working directory may be missing in the image; it is made in the container, never by host paths (CVE-2024-5154). */
static void make_cwd(struct job *job)
{
	int fd = root_make(job->root, job->process->cwd, WANT_DIRECTORY, 0755);

	if (fd < 0)
		fail("cwd", errno, "%s", job->process->cwd);
	close(fd);
}

void rootfs_enter(struct job *job)
{
	const struct rootfs_plan *plan = &job->launch->rootfs;
	struct mount_attr attr = {.propagation = plan->propagation, .attr_set = plan->readonly ? MOUNT_ATTR_RDONLY : 0};

	make_cwd(job);
	if (fchdir(job->root) < 0)
		fail("rootfs", errno, "enter the root file system");
	/* Afterwards the old root lies on top of the new one, and "." reaches it for the unmount (pivot_root(2)). */
	if (sys_pivot_root(".", ".") < 0)
		fail("rootfs", errno, "pivot_root");
	if (umount2(".", MNT_DETACH) < 0)
		fail("rootfs", errno, "detach the host's file systems");
	if (chdir("/") < 0)
		fail("rootfs", errno, "chdir /");
	if (sys_set_mount(job->root, 0, &attr) < 0)
		fail("rootfs", errno, "propagation and attributes of the root");
}
