/* The pod itself: its namespaces, the two mounts that the host can see, and the init that only a shared PID namespace has. */
#ifndef BERTH_POD_H
#define BERTH_POD_H
#include <stdbool.h>
#include "child/child.h"
#include "common/reader.h"

struct pod {
	const char *dir;
	const char *netns_path, *shm_path; /* "": none */
	char texts[3 * 1024]; /* what these point to: of paths below the server's own directories */
	struct pod_namespaces ns;
	pid_t init; /* 0: none */
	int socket; /* listening */
};

extern struct pod pod;

/* Makes net, ipc and uts namespaces (those of SPEC_FLAG_NEW_*) and comes back to the host's. False: `failed` says why. */
bool namespaces_make(uint32_t flags, struct child_report *failed);
bool loopback_up(void);
/* All that the spec asks for, or nothing. */
bool pod_make(struct reader *spec, struct child_report *failed);
/* Undoes pod_make, in whatever state it is. */
void pod_unmake(void);

/* in_fork.c: takes a step in a process of its own, for what can't be undone. It ends by returning or by fail(). */
bool in_fork(void (*step)(void *with), void *with, struct child_report *failed);
/* Waits for one report. False: there comes none. */
bool hear(int status, struct child_report *report);

/* userns.c, sysctl.c, pod_init.c: one step of pod_make each. */
bool userns_make(struct reader *spec, uint32_t flags, struct child_report *failed);
bool sysctls_write(struct reader *spec, struct child_report *failed);
bool pod_init_start(struct reader *spec, struct child_report *failed);
void pod_init_discard(void);

#endif
