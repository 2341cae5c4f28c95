#include "unpack.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int answers = -1;
static _Thread_local void (*before_failure)(void *of);
static _Thread_local void *before_failure_of;

void report_to(int fd) {
	answers = fd;
}

void fail_after(void (*wait)(void *of), void *of) {
	before_failure = wait;
	before_failure_of = of;
}

static void send_line(const char *line, size_t length) {
	while (length > 0) {
		ssize_t n = write(answers, line, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(2);
		line += n;
		length -= (size_t)n;
	}
}

/*
 * The server may be telling how far the blob has come at this very moment. If the connection were simply closed, that would fail
 * there before the answer is read; so wait until the server closes it, a few seconds at most.
 */
static void linger(void) {
	const struct timeval limit = {.tv_sec = 5};
	char ignored[1024];

	if (shutdown(answers, SHUT_WR) < 0 || setsockopt(answers, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
		return;
	while (read(answers, ignored, sizeof ignored) > 0)
		;
}

/* A name out of the archive may hold anything; the answer is one line of printable text. */
static void make_printable(char *text) {
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || (unsigned char)*text == 0x7f)
			*text = '?';
}

void fail(const char *stage, int error, const char *format, ...) {
	char message[1024], line[1200];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	make_printable(message);
	int length = error ? snprintf(line, sizeof line, "fail %s %d %s: %s\n", stage, error, message, strerror(error))
			   : snprintf(line, sizeof line, "fail %s 0 %s\n", stage, message);
	if (length >= (int)sizeof line) {
		length = sizeof line - 1;
		line[length - 1] = '\n';
	}
	if (before_failure)
		before_failure(before_failure_of);
	send_line(line, (size_t)length);
	linger();
	_exit(1);
}

void reply(const char *format, ...) {
	char line[512];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (length < 0 || length >= (int)sizeof line)
		fail("reply", 0, "an answer is too long");
	send_line(line, (size_t)length);
}

void *must_alloc(size_t bytes) {
	void *memory = calloc(1, bytes ? bytes : 1);
	if (!memory)
		fail("memory", ENOMEM, "%zu bytes", bytes);
	return memory;
}
