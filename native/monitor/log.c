/* CRI log format: RFC3339Nano time, space, stdout|stderr, space, P|F, space, content, newline. P is a piece of a line longer
 * than the limit. One time stamp and, as a rule, one write for each read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

#define WORK (160u << 10)

static _Alignas(4096) uint8_t work[WORK];
static size_t used;
static bool dirty;

static void flush(struct log *log)
{
	size_t done = 0;
	while (log->fd >= 0 && done < used) {
		ssize_t n = write(log->fd, work + done, used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
		log->torn = work[done - 1] != '\n';
	}
	/* A full disk costs lines, never the container's time. */
	if (log->fd >= 0 && done < used)
		log->dropped += used - done;
	used = 0;
}

static void stamp(char *head, bool error)
{
	static time_t second = -1;
	static char text[20]; /* 2026-11-24T07:25:08 */
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (t.tv_sec != second) {
		struct tm tm;
		gmtime_r(&t.tv_sec, &tm);
		snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned)(tm.tm_year + 1900) % 10000u,
			 (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
			 (unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u);
		second = t.tv_sec;
	}
	snprintf(head, 48, "%s.%09ldZ %s F ", text, t.tv_nsec, error ? "stderr" : "stdout");
}

#define HEAD 40 /* 19 time, 1 dot, 9 digits, Z, space, 6 stream, space, tag, space */
#define TAG 38

static void emit(struct log *log, const char *head, char tag, const struct buffer *first, const uint8_t *rest, size_t length)
{
	size_t before = buffer_length(first);
	if (used + HEAD + before + length + 2 > WORK)
		flush(log);
	if (log->torn && used == 0)
		work[used++] = '\n';
	memcpy(work + used, head, HEAD);
	work[used + TAG] = (uint8_t)tag;
	used += HEAD;
	if (before) {
		memcpy(work + used, buffer_data(first), before);
		used += before;
	}
	memcpy(work + used, rest, length);
	used += length;
	work[used++] = '\n';
}

void log_feed(struct log *log, struct stream *s, const uint8_t *data, size_t length)
{
	char head[48];
	if (log->fd < 0)
		return;
	stamp(head, s->error);
	dirty = true;
	while (length > 0) {
		const uint8_t *newline = memchr(data, '\n', length);
		size_t here = newline ? (size_t)(newline - data) : length;
		size_t room = log->max_line - buffer_length(&s->line);
		if (here > room) {
			emit(log, head, 'P', &s->line, data, room);
			data += room;
			length -= room;
		} else if (newline) {
			emit(log, head, 'F', &s->line, data, here);
			data += here + 1;
			length -= here + 1;
		} else {
			if (!buffer_add(&s->line, data, here))
				log->dropped += here;
			break;
		}
		buffer_free(&s->line);
	}
	flush(log);
}

void log_end(struct log *log, struct stream *s)
{
	char head[48];
	if (log->fd >= 0 && buffer_length(&s->line) > 0) {
		stamp(head, s->error);
		emit(log, head, 'F', &s->line, (const uint8_t *)"", 0);
		flush(log);
	}
	buffer_free(&s->line);
}

void log_idle(void)
{
	if (dirty)
		madvise(work, sizeof work, MADV_DONTNEED);
	dirty = false;
}
