#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

/* v2 memory.events and v1 memory.oom_control both have a line "oom_kill N". */
uint64_t oom_kills(const char *file)
{
	char text[1024];
	if (!file[0] || read_file(file, text, sizeof text) <= 0)
		return 0;
	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, "oom_kill ", 9) == 0)
			return strtoull(at + 9, NULL, 10);
	}
	return 0;
}

/* Durable before anybody hears of the exit: whoever has been told will find it again. Read by parseExitFile in
 * effects/native/exit-file.ts. */
bool exit_record_write(const struct container *ct)
{
	char temporary[PATH_MAX + 8], text[512];
	if (!ct->exit_file[0])
		return true;
	snprintf(temporary, sizeof temporary, "%s.new", ct->exit_file);
	int length = snprintf(text, sizeof text,
			      "{\"version\":1,\"containerId\":\"%s\",\"exitCode\":%d,\"oomKilled\":%s,\"startedAt\":\"%llu\","
			      "\"finishedAt\":\"%llu\"}\n",
			      ct->id, exit_code_of(ct->process.status), ct->oom ? "true" : "false", (unsigned long long)ct->started,
			      (unsigned long long)ct->finished);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool written = fd >= 0 && write_all(fd, text, (size_t)length) && fdatasync(fd) == 0 && rename(temporary, ct->exit_file) == 0;
	if (!written)
		warn("exit record", errno, "%s", ct->exit_file);
	close(fd);
	return written;
}
