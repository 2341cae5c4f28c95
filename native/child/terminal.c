#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "child/job.h"
#include "child/sys.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* The pair is the container's own (its devpts), but no name of it is trusted: ptmx is checked to be one, and the other end
 * comes from the kernel by the master's fd, not as /dev/pts/N, which a running container could swap (CVE-2025-52565). */
void terminal_open(struct job *job, int root)
{
	int path = root_open(root, "/dev/pts/ptmx", O_PATH, RESOLVE_NO_SYMLINKS), master, slave, unlock = 0;
	struct stat about;
	struct statfs fs;

	if (path < 0)
		fail("terminal", errno, "/dev/pts/ptmx in the container");
	if (fstat(path, &about) < 0 || fstatfs(path, &fs) < 0 || !S_ISCHR(about.st_mode) || about.st_rdev != makedev(5, 2) ||
	    fs.f_type != DEVPTS_SUPER_MAGIC)
		fail("terminal", ENODEV, "/dev/pts/ptmx in the container is no pseudoterminal master");
	master = reopen(job, path, O_RDWR | O_NOCTTY);
	if (master < 0)
		fail("terminal", errno, "open the pseudoterminal's master");
	close(path);
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		fail("terminal", errno, "unlock the pseudoterminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		fail("terminal", errno, "open the pseudoterminal's other end");
	if (fchown(slave, job->process->uid, (gid_t)-1) < 0)
		fail("terminal", errno, "give the terminal to user %u", job->process->uid);
	job->terminal = master;
	job->in = job->out = job->err = slave;
}

void terminal_console(struct job *job)
{
	const char *name;
	int parent = root_parent(job->root, "/dev/console", &name), tree = sys_copy_tree(job->in, "", AT_EMPTY_PATH);

	if (parent < 0 || tree < 0 || bind_over(parent, name, tree) < 0)
		fail("terminal", errno, "bind /dev/console");
	close(tree);
	close(parent);
}
