#include "common/loop.h"
#include <unistd.h>
#include "common/io.h"

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

static struct timer *timers;

void timer_stop(struct timer *t)
{
	for (struct timer **at = &timers; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	t->due = 0;
}

void timer_set(struct timer *t, int64_t ms, void (*fire)(struct timer *t))
{
	timer_stop(t);
	*t = (struct timer){.next = timers, .due = now_ms() + ms, .fire = fire};
	timers = t;
}

static struct timer *first_timer(void)
{
	struct timer *first = timers;
	for (struct timer *t = timers; t; t = t->next)
		first = t->due < first->due ? t : first;
	return first;
}

bool loop_once(int timeout)
{
	struct epoll_event e;
	struct timer *next = first_timer();
	int64_t left = next ? next->due - now_ms() : timeout;
	if (next && (timeout < 0 || left < timeout))
		timeout = left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
	int n = epoll_wait(poller, &e, 1, timeout);
	if (n > 0) {
		struct watch *w = e.data.ptr;
		w->ready(w, e.events);
	}
	for (int64_t now = now_ms(); (next = first_timer()) && next->due <= now;) {
		timer_stop(next);
		next->fire(next);
	}
	return n > 0;
}

void loop_close(void)
{
	close(poller);
	poller = -1;
}
