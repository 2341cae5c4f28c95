#include "common/capture.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "common/io.h"

static void readable(struct watch *w, uint32_t events)
{
	(void)events;
	static uint8_t rest[16384];
	struct capture *c = owner_of(w, struct capture, watch);
	size_t kept = buffer_length(&c->kept), room = c->limit - kept;
	bool keep = room > 0 && buffer_reserve(&c->kept, kept < 16384 ? 4096 : 65536);
	size_t size = keep ? c->kept.size - c->kept.end : sizeof rest;
	if (keep && size > room)
		size = room;
	ssize_t n = read(w->fd, keep ? c->kept.at + c->kept.end : rest, size);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		c->kept.end += keep ? (size_t)n : 0;
		return;
	}
	loop_close_fd(w);
	c->over(c);
}

void capture_start(struct capture *c, int fd, size_t limit, void (*over)(struct capture *c))
{
	c->limit = limit;
	c->over = over;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (!loop_add(&c->watch, fd, EPOLLIN, readable))
		close(fd);
}

void capture_close(struct capture *c)
{
	loop_close_fd(&c->watch);
	buffer_free(&c->kept);
}

bool capture_answer(struct wire *w, uint32_t request, int status, bool timed_out, const struct capture *out,
		    const struct capture *err)
{
	uint32_t out_length = (uint32_t)buffer_length(&out->kept), err_length = (uint32_t)buffer_length(&err->kept);
	uint32_t head[3] = {(uint32_t)exit_code_of(status), timed_out, out_length};
	struct iovec parts[] = {{head, sizeof head},
				{out_length ? buffer_data(&out->kept) : NULL, out_length},
				{&err_length, sizeof err_length},
				{err_length ? buffer_data(&err->kept) : NULL, err_length}};
	return wire_send(w, OP_OK, request, parts, 4);
}
