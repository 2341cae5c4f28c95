/*
 * The dialogue of one worker with the server, in lines:
 *
 *     server                              worker
 *     blob images/ingest/NAME
 *     into layers/NAME                    (left out: only hash)
 *     max-bytes N, max-entries N
 *     go
 *     have N   (so much is on disk now)
 *     end N    (that is all of it)
 *                                         done BLOB DIFF BYTES ENTRIES DISK INODES IMPLIED SKIPPED
 *                                     or: fail STAGE ERRNO MESSAGE
 *
 * `into layers` and `sync` instead flushes the file system of the layers, and answers `synced`.
 *
 * The server writes the blob to a file and says how far it has come: so ranges of a blob may arrive in any order, a broken download
 * goes on where it stopped, and a worker never sees the network. Hanging up cancels.
 */
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_inside(int root, const char *path, uint64_t flags) {
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);

	if (fd < 0)
		fail("open", errno, "%s", path);
	return fd;
}

/* One more line into `request->line`, without its end. False: nothing whole has arrived. */
static bool take_line(struct request *request, char line[PATH_BYTES]) {
	char *end = memchr(request->line, '\n', request->line_held);

	if (!end) {
		if (request->line_held == sizeof request->line)
			fail("request", 0, "a line is too long");
		return false;
	}
	size_t length = (size_t)(end - request->line);
	if (length >= PATH_BYTES)
		fail("request", 0, "a line is too long");
	memcpy(line, request->line, length);
	line[length] = 0;
	request->line_held -= length + 1;
	memmove(request->line, end + 1, request->line_held);
	return true;
}

/* False: nothing there at the moment. */
static bool receive(struct request *request, bool wait) {
	ssize_t n;

	do
		n = recv(request->connection, request->line + request->line_held, sizeof request->line - request->line_held,
			 wait ? 0 : MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return false;
	/* Nobody is left to tell: the pull was cancelled, or the server is gone. */
	if (n <= 0)
		_exit(3);
	request->line_held += (size_t)n;
	return true;
}

static const char *after(const char *line, const char *word) {
	size_t length = strlen(word);
	return strncmp(line, word, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static uint64_t number(const char *text) {
	return parse_decimal(text, strlen(text), "a number of the request");
}

void request_read(struct request *request, int connection, int root) {
	char line[PATH_BYTES];

	memset(request, 0, sizeof *request);
	request->connection = connection;
	request->blob = request->target = -1;
	request->max_bytes = request->max_entries = UINT64_MAX;
	for (;;) {
		const char *value;
		if (!take_line(request, line)) {
			receive(request, true);
			continue;
		}
		if (strcmp(line, "go") == 0)
			break;
		if (strcmp(line, "sync") == 0) {
			if (request->target < 0 || syncfs(request->target) < 0)
				fail("sync", request->target < 0 ? 0 : errno, "the layers");
			reply("synced\n");
			_exit(0);
		}
		if ((value = after(line, "blob")))
			request->blob = open_inside(root, value, O_RDONLY | O_NOFOLLOW);
		else if ((value = after(line, "into")))
			request->target = open_inside(root, value, O_RDONLY | O_DIRECTORY);
		else if ((value = after(line, "max-bytes")))
			request->max_bytes = number(value);
		else if ((value = after(line, "max-entries")))
			request->max_entries = number(value);
		else
			fail("request", 0, "unknown line %s", line);
	}
	if (request->blob < 0)
		fail("request", 0, "no blob is named");
}

static void take_progress(struct request *request) {
	char line[PATH_BYTES];
	const char *value;

	while (take_line(request, line)) {
		if ((value = after(line, "end")))
			request->ended = true;
		else if (!(value = after(line, "have")))
			fail("request", 0, "unknown line %s", line);
		uint64_t have = number(value);
		if (have < request->have)
			fail("request", 0, "the blob became shorter");
		request->have = have;
	}
}

void request_poll(struct request *request) {
	while (receive(request, false))
		take_progress(request);
	take_progress(request);
}

void request_wait(struct request *request, uint64_t offset) {
	take_progress(request);
	while (request->have <= offset && !request->ended) {
		receive(request, true);
		take_progress(request);
	}
}
