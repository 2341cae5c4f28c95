/* Attached sessions: a connection becomes a stream of STDIN, STDOUT, STDERR and RESIZE frames. All sessions of a container
 * share its output. One that does not read holds the container back for a while, and is dropped then. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

#define FULL (256u << 10)
#define ROOM (64u << 10)
#define PATIENCE_MS 10000

/* bytes container id | u32 STREAM_FLAG_* */
void attach(struct conn *c, struct frame *f)
{
	struct container *ct = container_named(&f->payload);
	uint32_t streams = take_u32(&f->payload);
	if (!ct || f->payload.bad) {
		conn_fail(c, f->request, ENOENT, "container", "no such container");
	} else if (ct->phase != RUNNING) {
		conn_fail(c, f->request, EINVAL, "state", "the container is not running");
	} else if (c->exec || c->attached) {
		conn_fail(c, f->request, EBUSY, "request", "this connection has a session");
	} else {
		c->attached = ct;
		c->streams = streams;
		c->next_attached = ct->sessions;
		ct->sessions = c;
		conn_done(c, f->request);
	}
}

static void close_stdin(struct container *ct)
{
	int fd = ct->in_watch.fd;
	if (fd < 0)
		return;
	/* A terminal has no other way to say it. */
	if (ct->terminal >= 0 && write(fd, "\4", 1) != 1)
		warn("stdin", errno, "%s: no end of file", ct->id);
	loop_remove(&ct->in_watch);
	close(fd);
}

/* Of one session; the container's own ends with the first, if it was made so. */
static void stdin_over(struct conn *c)
{
	struct container *ct = c->attached;
	if (!(c->streams & STREAM_FLAG_STDIN))
		return;
	c->streams &= ~(uint32_t)STREAM_FLAG_STDIN;
	if (ct->stdin_once)
		close_stdin(ct);
}

bool attach_frame(struct conn *c, struct frame *f)
{
	struct container *ct = c->attached;
	size_t length = f->payload.left;
	if (length == 0) {
		stdin_over(c);
		return true;
	}
	if (!(c->streams & STREAM_FLAG_STDIN) || ct->in_watch.fd < 0)
		return true;
	ssize_t n = write(ct->in_watch.fd, f->payload.at, length);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return true; /* nobody reads it any more */
	if (n == (ssize_t)length)
		return true;
	if (n > 0) {
		/* What is left becomes a shorter frame, in the place of what has gone. */
		uint8_t header[FRAME_HEADER];
		uint32_t left = (uint32_t)(length - (size_t)n);
		memcpy(header, buffer_data(&c->wire.in), sizeof header);
		memcpy(header, &left, sizeof left);
		buffer_drop(&c->wire.in, (size_t)n);
		memcpy(buffer_data(&c->wire.in), header, sizeof header);
	}
	c->stalled = true;
	loop_change(&ct->in_watch, EPOLLOUT);
	return false;
}

static void patience_over(struct timer *t)
{
	warn("attach", ETIMEDOUT, "a client does not read: dropped");
	conn_sent(owner_of(t, struct conn, patience), false);
}

void attach_output(struct container *ct, uint16_t type, const uint8_t *data, size_t length)
{
	uint32_t flag = type == OP_STDERR ? STREAM_FLAG_STDERR : STREAM_FLAG_STDOUT;
	struct iovec part = {(void *)data, length};
	for (struct conn *c = ct->sessions, *next; c; c = next) {
		next = c->next_attached;
		if (!(c->streams & flag) || c->dead)
			continue;
		conn_sent(c, wire_send(&c->wire, type, 0, &part, 1));
		if (!c->patience.due && buffer_length(&c->wire.out) > FULL) {
			timer_set(&c->patience, PATIENCE_MS, patience_over);
			container_flow(ct, false);
		}
	}
}

static bool all_have_room(const struct container *ct)
{
	for (const struct conn *c = ct->sessions; c; c = c->next_attached)
		if (c->patience.due)
			return false;
	return true;
}

void attach_sent(struct conn *c)
{
	if (!c->patience.due || !c->attached)
		return;
	timer_set(&c->patience, PATIENCE_MS, patience_over);
	if (buffer_length(&c->wire.out) > ROOM)
		return;
	timer_stop(&c->patience);
	if (all_have_room(c->attached))
		container_flow(c->attached, true);
}

void attach_over(struct conn *c)
{
	struct container *ct = c->attached;
	if (!ct)
		return;
	stdin_over(c);
	for (struct conn **at = &ct->sessions; *at; at = &(*at)->next_attached)
		if (*at == c) {
			*at = c->next_attached;
			break;
		}
	c->attached = NULL;
	timer_stop(&c->patience);
	if (all_have_room(ct))
		container_flow(ct, true);
}

void attach_end_all(struct container *ct)
{
	while (ct->sessions) {
		struct conn *c = ct->sessions;
		ct->sessions = c->next_attached;
		c->attached = NULL;
		timer_stop(&c->patience);
		conn_sent(c, wire_send(&c->wire, OP_ENDED, 0, NULL, 0));
	}
}
