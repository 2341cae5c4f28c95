/* What an attacker runs inside a container: one word says which attack. Prints what it reached. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* call NUMBER ARG...: the error of one system call, 0 if it was let through. */
static int call(int count, char **words)
{
	long args[7] = {0};

	for (int i = 0; i < count && i < 7; i++)
		args[i] = (long)strtoull(words[i], NULL, 0);
	long result = syscall(args[0], args[1], args[2], args[3], args[4], args[5], args[6]);
	printf("%s\n", result < 0 ? strerrorname_np(errno) : "let through");
	return 0;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Whether a process is still ours, and not yet what it was made for. */
static int is_ours(const char *pid)
{
	char path[64], name[32] = "";
	FILE *comm;

	snprintf(path, sizeof path, "/proc/%s/comm", pid);
	comm = fopen(path, "r");
	if (comm == NULL)
		return 0;
	if (fgets(name, sizeof name, comm) == NULL)
		name[0] = 0;
	fclose(comm);
	return strncmp(name, "berth", 5) == 0 && strncmp(name, "berth-init", 10) != 0;
}

/* Counts only if the process is ours even now: it has become somebody else's program since, if it is not. */
static void reached(const char *pid, const char *what)
{
	if (is_ours(pid))
		printf("reached %s\n", what);
}

static void look_at_descriptors(const char *pid)
{
	char path[300], to[300];

	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	DIR *fds = opendir(path);
	for (struct dirent *fd; fds != NULL && (fd = readdir(fds)) != NULL;) {
		snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, fd->d_name);
		ssize_t length = fd->d_name[0] == '.' ? -1 : readlink(path, to, sizeof to - 1);
		if (length < 0)
			continue;
		to[length] = 0;
		to[strcspn(to, "[")] = 0; /* a pipe's number */
		reached(pid, to);
	}
	if (fds != NULL)
		closedir(fds);
}

/* CapPrm of a process, which everybody may read. */
static unsigned long long permitted(const char *pid)
{
	unsigned long long set = 0;
	char path[64], line[200];
	FILE *status;

	snprintf(path, sizeof path, "/proc/%s/status", pid);
	status = fopen(path, "r");
	while (status != NULL && fgets(line, sizeof line, status) != NULL)
		sscanf(line, "CapPrm: %llx", &set);
	if (status != NULL)
		fclose(status);
	return set;
}

static void look_at_capabilities(const char *pid)
{
	unsigned long long more = permitted(pid) & ~permitted("self");
	char text[60];

	snprintf(text, sizeof text, "capabilities %llx", more);
	if (more != 0)
		reached(pid, text);
}

/* A process of ours is on its way into the container: what of it can be reached? */
static void look(const char *pid)
{
	static const char *const links[] = {"exe", "root", "cwd", "ns/mnt"};
	static const char *const files[] = {"mem", "environ", "maps", "auxv"};
	char path[300], to[300];
	struct stat root, other;

	if (!is_ours(pid))
		return;
	printf("seen\n");
	look_at_capabilities(pid);
	for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
		snprintf(path, sizeof path, "/proc/%s/%s", pid, links[i]);
		if (readlink(path, to, sizeof to) > 0)
			reached(pid, links[i]);
	}
	snprintf(path, sizeof path, "/proc/%s/root/", pid);
	if (stat("/", &root) == 0 && stat(path, &other) == 0 && (root.st_dev != other.st_dev || root.st_ino != other.st_ino))
		reached(pid, "another root");
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "/proc/%s/%s", pid, files[i]);
		int fd = open(path, i == 0 ? O_RDWR : O_RDONLY);
		if (fd < 0)
			continue;
		reached(pid, files[i]);
		close(fd);
	}
	look_at_descriptors(pid);
	if (ptrace(PTRACE_SEIZE, atoi(pid), 0, 0) == 0) {
		reached(pid, "it by ptrace");
		ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
	}
}

/* spy SECONDS: looks at every process that appears, as fast as can be. */
static int spy(double length)
{
	double end = seconds() + length;

	while (seconds() < end) {
		DIR *all = opendir("/proc");
		for (struct dirent *one; all != NULL && (one = readdir(all)) != NULL;)
			if (one->d_name[0] >= '1' && one->d_name[0] <= '9' && strcmp(one->d_name, "1") != 0)
				look(one->d_name);
		if (all != NULL)
			closedir(all);
	}
	printf("over\n");
	return 0;
}

/* swap A B SECONDS: exchanges two names without pause. */
static int swap(const char *a, const char *b, double length)
{
	double end = seconds() + length;

	while (seconds() < end)
		for (int i = 0; i < 1000; i++)
			if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0)
				usleep(10);
	return 0;
}

/* device KIND MAJOR MINOR: makes a device node and opens it. */
static int device(const char *kind, unsigned major, unsigned minor)
{
	mode_t type = kind[0] == 'b' ? S_IFBLK : S_IFCHR;

	if (mknod("/tmp/device", type | 0666, makedev(major, minor)) < 0) {
		printf("mknod %s\n", strerrorname_np(errno));
		return 0;
	}
	int fd = open("/tmp/device", O_RDWR | O_NONBLOCK);
	printf("open %s\n", fd < 0 ? strerrorname_np(errno) : "let through");
	unlink("/tmp/device");
	return 0;
}

/* fill: takes all keys that this user may have. */
static int fill(void)
{
	char name[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "fill-%d", i);
		/* KEY_SPEC_USER_KEYRING: it outlives this process. */
		if (syscall(SYS_add_key, "user", name, "x", 1, -4) < 0) {
			printf("%s\n", strerrorname_np(errno));
			return 0;
		}
	}
	printf("no limit\n");
	return 0;
}

/* session: the number of this process's session keyring. */
static int session(void)
{
	printf("%ld\n", syscall(SYS_keyctl, 0, -3, 0));
	return 0;
}

/* keyring ID: whose session keyring this process has. KEYCTL_GET_KEYRING_ID, KEYCTL_DESCRIBE. */
static int keyring(const char *id)
{
	char text[400] = "";
	long key = syscall(SYS_keyctl, 0, -3, 0);

	if (key < 0 || syscall(SYS_keyctl, 6, key, text, sizeof text - 1) < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%s\n", strstr(text, id) != NULL ? "its own" : text);
	return 0;
}

int main(int count, char **words)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (count > 2 && strcmp(words[1], "call") == 0)
		return call(count - 2, words + 2);
	if (count == 2 && strcmp(words[1], "fill") == 0)
		return fill();
	if (count == 2 && strcmp(words[1], "session") == 0)
		return session();
	if (count == 3 && strcmp(words[1], "keyring") == 0)
		return keyring(words[2]);
	if (count == 3 && strcmp(words[1], "spy") == 0)
		return spy(atof(words[2]));
	if (count == 5 && strcmp(words[1], "swap") == 0)
		return swap(words[2], words[3], atof(words[4]));
	if (count == 5 && strcmp(words[1], "device") == 0)
		return device(words[2], (unsigned)atoi(words[3]), (unsigned)atoi(words[4]));
	return 2;
}
