#include "common/io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool write_all(int fd, const void *data, size_t length)
{
	const char *at = data;
	while (length > 0) {
		ssize_t n = write(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		length -= (size_t)n;
	}
	return true;
}

ssize_t read_all(int fd, void *data, size_t size)
{
	size_t got = 0;
	while (got < size) {
		ssize_t n = read(fd, (char *)data + got, size - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

ssize_t read_file(const char *path, char *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read_all(fd, to, size - 1);
	to[n > 0 ? n : 0] = 0;
	close(fd);
	return n;
}

int open_regular(int path, int flags)
{
	char self[40];
	struct stat st;
	int fd = -1, error = fstat(path, &st) < 0 ? errno : S_ISREG(st.st_mode) ? 0 : S_ISLNK(st.st_mode) ? ELOOP : EINVAL;
	snprintf(self, sizeof self, "/proc/self/fd/%d", path);
	if (error == 0 && (fd = open(self, flags | O_CLOEXEC)) < 0)
		error = errno;
	close(path);
	errno = error;
	return fd;
}

bool write_file(const char *path, const char *value, size_t length)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = write(fd, value, length);
	close_calmly(fd);
	return n == (ssize_t)length;
}

uint64_t start_time(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (read_file(path, text, sizeof text) <= 0)
		return 0;
	/* The second field is a name in parentheses and may hold anything, so count from its end: next comes field 3. */
	char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

int exit_code_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void close_calmly(int fd)
{
	int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
}

void close_from(unsigned first)
{
	if (syscall(SYS_close_range, first, ~0u, 0) == 0)
		return;
	for (unsigned fd = first; fd < 4096; fd++)
		close((int)fd);
}

static void say(const char *stage, int error, const char *format, va_list args)
{
	char text[512];
	vsnprintf(text, sizeof text, format, args);
	dprintf(STDERR_FILENO, "{\"pid\":%d,\"stage\":\"%s\",\"errno\":%d,\"error\":\"%s\",\"text\":\"%s\"}\n", getpid(), stage, error,
		error ? strerrordesc_np(error) : "", text);
}

void warn(const char *stage, int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(stage, error, format, args);
	va_end(args);
}

void die(const char *stage, const char *format, ...)
{
	int error = errno;
	va_list args;
	va_start(args, format);
	say(stage, error, format, args);
	va_end(args);
	_exit(1);
}

static char *title;
static size_t title_size;

void title_room(int argc, char **argv)
{
	title = argv[0];
	title_size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]) + 1;
}

void set_title(const char *name, const char *detail)
{
	prctl(PR_SET_NAME, name);
	if (!title)
		return;
	memset(title, 0, title_size);
	snprintf(title, title_size, "%s %s", name, detail);
}
