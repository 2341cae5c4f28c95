#ifndef BERTH_MONITOR_PROCESS_H
#define BERTH_MONITOR_PROCESS_H
#include "child/child.h"
#include "common/loop.h"

struct process;

/* What whoever has one is told. `over` may free it; the others may not. */
struct process_events {
	/* `warning` is "" as a rule; a terminal is the callee's, -1: none. */
	void (*ready)(struct process *p, const char *warning, int terminal);
	void (*runs)(struct process *p);
	/* Reaped, with `status`; or `failed` says why there never was one. */
	void (*over)(struct process *p);
};

enum process_stage { MAKING, READY, GOING, RUNS, OVER };

struct process {
	struct process *next;
	const struct process_events *events;
	enum process_stage stage;
	struct child child;
	int status; /* as wait gives it */
	struct child_report failed; /* kind 0: nothing has failed */
	struct watch status_watch;
};

/* Fills it in and adds it to those that are looked at; `child` is to be made next. */
void process_init(struct process *p, const struct process_events *events);
/* Once `child` is made. False: no room. */
bool process_watch(struct process *p);
/* It has been told to execute its command, or does so unasked. */
void process_go(struct process *p);
/* SIGKILL to the process that it is known by. */
void process_kill(const struct process *p);
/* Closes what it has open and takes it away from those that are looked at. Harmless the second time. */
void process_close(struct process *p);
/* Who is who has to be known before the dead are looked at. */
void processes_read_status(void);
void processes_reaped(pid_t pid, int status);

#endif
