/* Finding and running the user's program, as the user. The texts are the ones that people know from other runtimes. */
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "child/job.h"
#include "child/sys.h"

static const char usual_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

char **list_vector(const struct list *list)
{
	char **to = texts_vector(list);

	if (to == NULL)
		fail("exec", errno, "%u arguments", list->count);
	return to;
}

static const char *search_path(char **env)
{
	const char *path = usual_path;

	for (; *env != NULL; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			path = *env + 5;
	return path;
}

/* 0, or the errno that tells why `file` can't be run. */
static int runnable(const char *file)
{
	struct stat about;

	if (stat(file, &about) < 0)
		return errno;
	if (S_ISDIR(about.st_mode))
		return EISDIR;
	return faccessat(AT_FDCWD, file, X_OK, 0) < 0 ? errno : 0;
}

/* Names without a slash are looked for in the container's PATH; an entry that may not be run is passed over, but remembered. */
static const char *find(const char *name, const char *path, char *to, size_t size)
{
	int refused = 0;

	if (strchr(name, '/') != NULL) {
		int error = runnable(name);

		if (error == ENOENT)
			fail("exec", error, "exec: \"%s\": stat %s: no such file or directory", name, name);
		if (error != 0)
			fail("exec", error, "exec: \"%s\": %s", name, error == EISDIR ? "is a directory" : "permission denied");
		return name;
	}
	while (name[0] != '\0') {
		size_t length = strcspn(path, ":");
		int error;

		if (length + strlen(name) + 2 <= size) {
			snprintf(to, size, "%.*s/%s", length > 0 ? (int)length : 1, length > 0 ? path : ".", name);
			error = runnable(to);
			if (error == 0)
				return to;
			if (error == EACCES)
				refused = 1;
		}
		if (path[length] == '\0')
			break;
		path += length + 1;
	}
	if (refused)
		fail("exec", EACCES, "exec: \"%s\": permission denied", name);
	fail("exec", ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}

int command_needs_admin(const struct process_plan *plan)
{
	return plan->seccomp_bytes > 0 && !plan->no_new_privileges;
}

/* Last of all, so that the filter has to allow as little as can be for us: execve, and in one case what drops CAP_SYS_ADMIN. But
 * for a container that could take the process over (exec.c) as soon as the filter allows. */
void command_confine(const struct process_plan *plan)
{
	struct sock_fprog program = {.len = (unsigned short)(plan->seccomp_bytes / sizeof(struct sock_filter)),
				     .filter = (struct sock_filter *)(void *)plan->seccomp};

	if (!command_needs_admin(plan))
		capabilities_ambient(plan);
	if (plan->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("process", errno, "no_new_privs");
	if (plan->seccomp_bytes == 0)
		return;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		fail("seccomp", errno, "a filter of %u instructions", program.len);
	if (command_needs_admin(plan)) {
		capabilities_set(plan, 0);
		capabilities_ambient(plan);
	}
}

static const char *exec_error(int error)
{
	switch (error) {
	case ENOENT:
		return "no such file or directory"; /* an interpreter: the file itself was there */
	case EACCES:
	case EPERM:
		return "permission denied";
	case ENOEXEC:
		return "exec format error";
	case E2BIG:
		return "argument list too long";
	default:
		return strerrordesc_np(error);
	}
}

_Noreturn void command_run(const struct process_plan *plan, int is_confined)
{
	char **args = list_vector(&plan->args), **env = list_vector(&plan->env), found[4096];
	const char *file = find(args[0], search_path(env), found, sizeof found);

	if (!is_confined)
		command_confine(plan);
	execve(file, args, env);
	fail("exec", errno, "exec: \"%s\": %s", args[0], exec_error(errno));
}
