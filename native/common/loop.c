#include "common/loop.h"
#include <unistd.h>

static int poller = -1;

bool loop_open(void)
{
	poller = epoll_create1(EPOLL_CLOEXEC);
	return poller >= 0;
}

bool loop_add(struct watch *w, int fd, uint32_t events, void (*ready)(struct watch *w, uint32_t events))
{
	struct epoll_event e = {.events = events, .data.ptr = w};
	*w = (struct watch){.fd = fd, .events = events, .ready = ready};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) == 0)
		return true;
	w->fd = -1;
	return false;
}

bool loop_change(struct watch *w, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};
	if (w->fd < 0 || w->events == events)
		return true;
	/* With no event wanted the fd has to leave the set: a hang-up is reported whether it is wanted or not. */
	int what = events == 0 ? EPOLL_CTL_DEL : w->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
	w->events = events;
	return epoll_ctl(poller, what, w->fd, &e) == 0;
}

void loop_remove(struct watch *w)
{
	if (w->fd >= 0 && w->events != 0)
		epoll_ctl(poller, EPOLL_CTL_DEL, w->fd, NULL);
	w->fd = -1;
}

void loop_close_fd(struct watch *w)
{
	int fd = w->fd;
	loop_remove(w);
	if (fd >= 0)
		close(fd);
}

bool loop_once(int timeout)
{
	struct epoll_event e;
	int n = epoll_wait(poller, &e, 1, timeout);
	if (n > 0) {
		struct watch *w = e.data.ptr;
		w->ready(w, e.events);
	}
	return n > 0;
}

void loop_close(void)
{
	close(poller);
	poller = -1;
}
