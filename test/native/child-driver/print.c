/* One JSON object a line. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

void print_text(const char *name, const char *text, size_t length)
{
	printf(", \"%s\": \"", name);
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 32 || c > 126)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

void print_failed(const char *event, const struct child_report *report)
{
	printf("{\"event\": \"%s\", \"errno\": %d", event, report->error);
	print_text("stage", report->stage, strlen(report->stage));
	print_text("text", report->text, strlen(report->text));
	printf("}\n");
}

size_t drain(int fd, char *to, size_t used)
{
	while (used < OUTPUT_MOST) {
		ssize_t got = read(fd, to + used, OUTPUT_MOST - used);

		if (got <= 0)
			break;
		used += (size_t)got;
	}
	return used;
}

/* Reads both to their ends, so that neither fills up. */
void collect(int out, int err)
{
	char *texts[2] = {malloc(OUTPUT_MOST), malloc(OUTPUT_MOST)};
	size_t used[2] = {0, 0};
	struct pollfd fds[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		poll(fds, 2, -1);
		for (int i = 0; i < 2; i++) {
			char byte[4096];
			ssize_t got;

			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			got = read(fds[i].fd, byte, sizeof byte);
			if (got > 0 && used[i] + (size_t)got < OUTPUT_MOST) {
				memcpy(texts[i] + used[i], byte, (size_t)got);
				used[i] += (size_t)got;
			} else if (got <= 0 && errno != EAGAIN) {
				fds[i].fd = -1;
			} else if (got == 0) {
				fds[i].fd = -1;
			}
		}
	}
	print_text("out", texts[0], used[0]);
	print_text("err", texts[1], used[1]);
	free(texts[0]);
	free(texts[1]);
}

static int by_size(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

void print_times(const char *who, double *times, int n)
{
	qsort(times, (size_t)n, sizeof *times, by_size);
	printf("{\"event\": \"%s-times\", \"n\": %d, \"min\": %.3f, \"p50\": %.3f, \"p90\": %.3f, \"max\": %.3f}\n", who, n, times[0],
	       times[n / 2], times[n * 9 / 10], times[n - 1]);
}

