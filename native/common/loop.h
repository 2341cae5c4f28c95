/* One epoll, one event at a time: a handler may remove any watch, for no event is ever held back in an array. */
#ifndef BERTH_LOOP_H
#define BERTH_LOOP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
	int fd; /* -1: not watched */
	uint32_t events;
	void (*ready)(struct watch *w, uint32_t events);
};

#define owner_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* All give false with errno set. */
bool loop_open(void);
bool loop_add(struct watch *w, int fd, uint32_t events, void (*ready)(struct watch *w, uint32_t events));
bool loop_change(struct watch *w, uint32_t events);
/* Does not close the fd. Nothing happens when it is not watched. */
void loop_remove(struct watch *w);
/* The same, and closes the fd. */
void loop_close_fd(struct watch *w);
/* Something that is due at a time. At home in whatever waits for it; all zeros: not set. */
struct timer {
	struct timer *next;
	int64_t due; /* ms, as now_ms(); 0: not set */
	void (*fire)(struct timer *t); /* may free what it is in */
};
/* Again for one that is set moves it. */
void timer_set(struct timer *t, int64_t ms, void (*fire)(struct timer *t));
void timer_stop(struct timer *t);

/* Waits for one event, at most `timeout` ms (-1: for ever), and handles it and what is due. False when the time was up. */
bool loop_once(int timeout);
void loop_close(void);

#endif
