/* The monitor: parent of a pod's processes. It outlives the server, so it owns what must not get lost: log files, terminals,
 * exit records. One thread, one epoll; it answers requests and never dies of a bad one. */
#ifndef BERTH_MONITOR_H
#define BERTH_MONITOR_H
#include "common/loop.h"
#include "common/wire.h"
#include "monitor/process.h"

struct container;
struct exec;

/* A connection: the server's own, or one of a session (exec or attach), which ends with it. A page of memory. */
struct conn {
	struct conn *next;
	struct wire wire;
	struct watch watch;
	bool dead; /* is freed when its event is over */
	bool stalled; /* a frame waits until the container takes more stdin */
	struct exec *exec; /* a streaming exec's session */
	/* An attached session. */
	struct container *attached;
	struct conn *next_attached;
	uint32_t streams; /* STREAM_FLAG_* */
	struct timer patience; /* set: it has no room */
};

/* Whoever waits for an answer. conn is NULL when nobody does, or when they are gone. */
struct asker {
	struct conn *conn;
	uint32_t request;
};

/* One output of a container, on its way into the log. */
struct stream {
	struct watch watch;
	struct buffer line; /* what has come of a line that is not over */
	bool error; /* stderr */
};

struct log {
	int fd; /* -1: none */
	uint32_t max_line;
	bool torn; /* the file ends within a line, for it was full */
	uint64_t dropped; /* bytes */
};

enum phase { CREATING, CREATED, STARTING, RUNNING, ENDING, EXITED };

struct container {
	struct process process;
	struct container *next;
	size_t size; /* of this block */
	enum phase phase;
	bool stdin_kept, stdin_once, v2, oom, forgotten, drained;
	uint64_t start_time; /* of the process, as start_time() gives it */
	uint64_t started, finished; /* ns since the epoch; 0: not yet */
	struct timer drain;
	struct asker creator, starter, remover;
	struct watch in_watch;
	struct stream out, err;
	int terminal; /* master, or -1 */
	struct log log;
	struct conn *sessions;
	/* What child_discard_cgroups needs, until the process is ready. */
	struct buffer plan;
	/* In this block, behind the struct. */
	const char *id, *log_path, *exit_file, *oom_file, *cgroup;
};

extern struct container *containers;

struct container *container_find(const char *id);
/* The one that a request names: as bytes, which is how builds before this one read them, so that a pod can always be stopped. */
struct container *container_named(struct reader *request);
/* Frees it. */
void container_forget(struct container *ct);
void container_create(struct conn *c, struct frame *f);
void container_start(struct conn *c, struct frame *f);
void container_kill(struct conn *c, struct frame *f);
void container_reopen_log(struct conn *c, struct frame *f);
void container_list(struct conn *c, struct frame *f);
void container_remove(struct conn *c, struct frame *f);
/* Ends what can be ended: after the drain time, or when the outputs are at their end. */
void container_settle(struct container *ct);
void container_out_ready(struct watch *w, uint32_t events);
void container_err_ready(struct watch *w, uint32_t events);
void container_in_ready(struct watch *w, uint32_t events);
/* Stops and resumes reading its outputs. */
void container_flow(struct container *ct, bool on);
void container_cancel(const struct conn *c, uint32_t request);
void containers_kill_all(void);
void containers_idle(void);
void containers_forget_asker(const struct conn *c);

/* log.c */
int log_open(const char *path);
void log_feed(struct log *log, struct stream *s, const uint8_t *data, size_t length);
/* At its end: what is left of a line is a whole one. */
void log_end(struct log *log, struct stream *s);
/* Gives the pages of the work areas back. */
void log_idle(void);

/* exit_record.c */
uint64_t oom_kills(const char *file);
bool exit_record_write(const struct container *ct);

/* group.c: kills every process of a cgroup. */
void group_kill(const char *dir, bool v2);
/* Kills a process that leads a session, its group, and of its cgroup's members all that descend from it. */
void descendants_kill(pid_t leader, const char *dir);

/* exec.c */
void exec_sync(struct conn *c, struct frame *f);
void exec_stream(struct conn *c, struct frame *f);
void exec_cancel(struct conn *c, uint32_t request);
void exec_resize(struct conn *c, struct frame *f);
void exec_session_over(struct conn *c);
/* Of a connection that is going away. */
void exec_forget_asker(const struct conn *c);

/* attach.c */
void attach(struct conn *c, struct frame *f);
/* A frame of an attached session. False: it has to wait, keep it. */
bool attach_frame(struct conn *c, struct frame *f);
void attach_output(struct container *ct, uint16_t type, const uint8_t *data, size_t length);
void attach_sent(struct conn *c);
void attach_over(struct conn *c);
void attach_end_all(struct container *ct);

/* monitor.c */
extern struct conn *conns;
void conn_sent(struct conn *c, bool ok);
/* Goes through the frames that are here; again when a stalled one can go on. */
void conn_serve(struct conn *c);
void conn_fail(struct conn *c, uint32_t request, int error, const char *stage, const char *text);
/* An answer of nothing but that it was done. */
void conn_done(struct conn *c, uint32_t request);
void answer_ok(struct asker *asker, struct message *m);
void answer_failed(struct asker *asker, const struct child_report *failed);
void shutdown_when_over(void);
void broadcast_exit(const struct container *ct);

#endif
