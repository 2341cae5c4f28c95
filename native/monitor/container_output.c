/* What a container says, on its way to its log and to those who are attached; and when it takes more of what it is told. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include "monitor/monitor.h"

static _Alignas(4096) uint8_t data[65536];

void containers_idle(void)
{
	madvise(data, sizeof data, MADV_DONTNEED);
}

static void output(struct container *ct, struct stream *s)
{
	ssize_t n = read(s->watch.fd, data, sizeof data);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		attach_output(ct, s->error ? OP_STDERR : OP_STDOUT, data, (size_t)n);
		log_feed(&ct->log, s, data, (size_t)n);
		return;
	}
	/* A terminal whose last slave is closed says EIO: that is its end of file. */
	log_end(&ct->log, s);
	if (s->watch.fd == ct->terminal)
		ct->terminal = -1;
	loop_close_fd(&s->watch);
	container_settle(ct);
}

void container_out_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct container *ct = owner_of(w, struct container, out.watch);
	output(ct, &ct->out);
}

void container_err_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct container *ct = owner_of(w, struct container, err.watch);
	output(ct, &ct->err);
}

/* Sessions with a frame that had no room go on. */
void container_in_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct container *ct = owner_of(w, struct container, in_watch);
	loop_change(w, 0);
	for (struct conn *c = ct->sessions, *next; c; c = next) {
		next = c->next_attached;
		if (c->stalled) {
			c->stalled = false;
			conn_serve(c);
		}
	}
}

void container_flow(struct container *ct, bool on)
{
	loop_change(&ct->out.watch, on ? EPOLLIN : 0u);
	loop_change(&ct->err.watch, on ? EPOLLIN : 0u);
}
