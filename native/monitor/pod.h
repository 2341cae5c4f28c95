/* The pod itself: its namespaces, the two mounts that the host can see, and the init that only a shared PID namespace has. */
#ifndef BERTH_POD_H
#define BERTH_POD_H
#include <limits.h>
#include <stdbool.h>
#include "child/child.h"
#include "common/reader.h"

/* Of paths that the server makes below its own directories; so small that all of a pod is one page. */
#define POD_PATH 1024

struct pod {
	char sandbox[128];
	char dir[POD_PATH];
	char netns_path[POD_PATH]; /* "" when there is none to pin */
	char shm_path[POD_PATH];
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
/* Sets what a failure was; gives false, so that a step can return it. */
bool failure(struct child_report *failed, int error, const char *stage, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* userns.c, sysctl.c, pod_init.c: one step of pod_make each. */
bool userns_make(struct reader *spec, uint32_t flags, struct child_report *failed);
bool sysctls_write(struct reader *spec, struct child_report *failed);
bool pod_init_start(struct reader *spec, struct child_report *failed);
void pod_init_discard(void);

#endif
