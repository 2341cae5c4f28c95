/* The launcher: the server's hands for whatever needs a fork. It ends when the server does; the monitors that it made live on. */
#ifndef BERTH_LAUNCH_H
#define BERTH_LAUNCH_H
#include "common/loop.h"
#include "common/wire.h"

/* Serves the socket at fd 3 with so many monitors kept ready. Returns the exit status when the server has gone. */
int launcher_run(unsigned pool);
extern struct wire server;
/* What is queued for the server; ends the launcher when it has gone. */
void server_sent(bool ok);
/* In a fork of the launcher: keeps nothing of it but the fds below 3 and those in `keep`, moved to 3 and up in order. */
void forget_launcher(int *keep, int count);

/* pool.c: the monitors kept ready. */
void pool_open(unsigned size);
bool pool_is_short(void);
void pool_add(void);
void spawn_monitor(const struct frame *f);

/* job.c: a forked process whose output is an answer. */
void job_of_ours(struct frame *f);
void job_run(struct frame *f);
void job_cancel(uint32_t request);
void job_reaped(int pid, int status);
/* Kills foreign programs: the next server would undo what a CNI plugin of this one still does. */
void jobs_end(void);

/* image_files.c, remove_trees.c: what such a process does. They write the answer to fd 1 and end, or fail(). */
_Noreturn void read_image_files(struct reader *r);
_Noreturn void remove_trees(struct reader *r);

#endif
