#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/io.h"
#include "launch/launch.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* CVE-2019-5736: a container reached the runtime's own file through /proc/PID/exe and rewrote it. Whatever a container
 * can see of us is therefore a copy in memory that nobody can write any more. The seals themselves say whether we are it. */
static void become_sealed(char **argv)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (self < 0 || fstat(self, &st) < 0)
		die("seal", "/proc/self/exe");
	int seals = fcntl(self, F_GET_SEALS);
	if (seals >= 0 && (seals & ALL_SEALS) == ALL_SEALS) {
		close(self);
		return;
	}
	int copy = memfd_create("berth-native", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (copy < 0 && errno == EINVAL) /* MFD_EXEC is of Linux 6.3 */
		copy = memfd_create("berth-native", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0)
		die("seal", "memfd_create");
	for (off_t done = 0; done < st.st_size;)
		if (sendfile(copy, self, &done, (size_t)(st.st_size - done)) <= 0)
			die("seal", "sendfile");
	if (fcntl(copy, F_ADD_SEALS, ALL_SEALS) < 0)
		die("seal", "F_ADD_SEALS");
	fexecve(copy, argv, environ);
	die("seal", "fexecve");
}

int main(int argc, char **argv)
{
	if (argc < 3 || strcmp(argv[1], "launcher") != 0) {
		fprintf(stderr, "usage: berth-native launcher POOL-SIZE  (with a stream socket as fd 3)\n");
		return 2;
	}
	/* What the server's own parent forgot to close must not reach a container. */
	close_from(4);
	/* The blanks make room for the titles of the processes that will be forked from this one. */
	static char blanks[] = "                                                                                ";
	static char name[] = "berth-launcher";
	char *again[] = {name, argv[1], argv[2], blanks, NULL};
	become_sealed(again);
	unsigned pool = (unsigned)strtoul(argv[2], NULL, 10);
	title_room(argc, argv); /* the arguments are gone from here on */
	set_title("berth-launcher", "");
	return launcher_run(pool);
}
