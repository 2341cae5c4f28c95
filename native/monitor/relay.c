#include "monitor/relay.h"
#include <errno.h>
#include <unistd.h>

#define PIECE 4096

void relay_init(struct relay *r)
{
	*r = (struct relay){.from = -1, .to = -1, .source.fd = -1, .sink.fd = -1};
}

bool relay_open(const struct relay *r)
{
	return r->from >= 0;
}

void relay_close(struct relay *r)
{
	loop_remove(&r->source);
	loop_remove(&r->sink);
	if (r->from >= 0)
		close(r->from);
	if (r->to >= 0)
		close(r->to);
	r->from = r->to = -1;
	buffer_free(&r->held);
}

static bool again(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void pump(struct relay *r)
{
	bool over = false;
	if (buffer_length(&r->held) == 0 && buffer_reserve(&r->held, PIECE)) {
		ssize_t n = read(r->from, r->held.at, PIECE);
		if (n > 0)
			r->held.end = (size_t)n;
		else if (!again(n))
			over = true; /* end of file; EIO of a terminal that nobody has open */
	}
	if (buffer_length(&r->held) > 0) {
		ssize_t n = write(r->to, buffer_data(&r->held), buffer_length(&r->held));
		if (n > 0)
			buffer_drop(&r->held, (size_t)n);
		else if (!again(n))
			over = true;
	}
	if (over) {
		relay_close(r);
		if (r->over)
			r->over(r);
		return;
	}
	bool holds = buffer_length(&r->held) > 0;
	loop_change(&r->source, holds ? 0u : EPOLLIN);
	loop_change(&r->sink, holds ? EPOLLOUT : 0u);
}

static void source_ready(struct watch *w, uint32_t events)
{
	(void)events;
	pump(owner_of(w, struct relay, source));
}

static void sink_ready(struct watch *w, uint32_t events)
{
	(void)events;
	pump(owner_of(w, struct relay, sink));
}

void relay_start(struct relay *r, int from, int to, void (*over)(struct relay *r))
{
	r->from = from;
	r->to = to;
	r->over = over;
	if (!loop_add(&r->source, from, EPOLLIN, source_ready) || !loop_add(&r->sink, to, EPOLLOUT, sink_ready))
		relay_close(r);
	else
		loop_change(&r->sink, 0);
}
