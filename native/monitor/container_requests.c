/* What the server asks of a container that is there. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

static struct container *named(struct conn *c, struct frame *f)
{
	char id[128];
	take_text(&f->payload, id, sizeof id);
	struct container *ct = f->payload.bad ? NULL : container_find(id);
	if (!ct)
		conn_fail(c, f->request, ENOENT, "container", id);
	return ct;
}

void container_start(struct conn *c, struct frame *f)
{
	struct container *ct = named(c, f);
	if (!ct)
		return;
	if (ct->phase != CREATED || write(ct->child.status, "", 1) != 1) {
		conn_fail(c, f->request, EINVAL, "state", "the container is not in the state created");
		return;
	}
	ct->phase = STARTING;
	ct->starter = (struct asker){c, f->request};
}

/* text id | u32 signal | u32 all */
void container_kill(struct conn *c, struct frame *f)
{
	struct message nothing = {0};
	struct container *ct = named(c, f);
	if (!ct)
		return;
	uint32_t sig = take_u32(&f->payload), all = take_u32(&f->payload);
	if (f->payload.bad || sig > 64) {
		conn_fail(c, f->request, EINVAL, "signal", "out of range");
		return;
	}
	if (ct->phase == EXITED || ct->phase == ENDING) {
		conn_fail(c, f->request, ESRCH, "state", "the container has exited");
		return;
	}
	/* By pidfd: a pid may be somebody else's by now. */
	if (syscall(SYS_pidfd_send_signal, ct->child.pidfd, (int)sig, NULL, 0) < 0 && errno != ESRCH) {
		conn_fail(c, f->request, errno, "kill", ct->id);
		return;
	}
	if (all && sig == SIGKILL)
		group_kill(ct->cgroup, ct->flags & PLAN_FLAG_CGROUP_V2);
	struct asker asker = {c, f->request};
	answer_ok(&asker, &nothing);
}

void container_reopen_log(struct conn *c, struct frame *f)
{
	struct message nothing = {0};
	struct container *ct = named(c, f);
	if (!ct)
		return;
	if (ct->phase == EXITED) {
		conn_fail(c, f->request, EINVAL, "state", "the container has exited");
		return;
	}
	if (ct->log_path[0]) {
		/* Each write ends with a line, so between two of them is between two lines. */
		int fd = log_open(ct->log_path);
		if (fd < 0) {
			conn_fail(c, f->request, errno, "log", ct->log_path);
			return;
		}
		if (ct->log.fd >= 0)
			close(ct->log.fd);
		ct->log.fd = fd;
		ct->log.torn = false;
	}
	struct asker asker = {c, f->request};
	answer_ok(&asker, &nothing);
}

void container_list(struct conn *c, struct frame *f)
{
	struct message m = {0};
	uint32_t count = 0;
	for (struct container *ct = containers; ct; ct = ct->next)
		count += ct->phase != CREATING && !ct->forgotten;
	put_u32(&m, count);
	for (struct container *ct = containers; ct; ct = ct->next) {
		if (ct->phase == CREATING || ct->forgotten)
			continue;
		bool exited = ct->phase == EXITED, created = ct->phase == CREATED || ct->phase == STARTING;
		put_text(&m, ct->id);
		put_u32(&m, exited ? CONTAINER_STATE_EXITED : created ? CONTAINER_STATE_CREATED : CONTAINER_STATE_RUNNING);
		put_u32(&m, (uint32_t)ct->child.pid);
		put_u64(&m, ct->start_time);
		put_u64(&m, ct->started);
		put_u64(&m, exited ? ct->finished : 0);
		put_u32(&m, exited ? (uint32_t)exit_code_of(ct->status) : 0);
		put_u32(&m, ct->oom);
	}
	struct asker asker = {c, f->request};
	answer_ok(&asker, &m);
}

void container_remove(struct conn *c, struct frame *f)
{
	struct message nothing = {0};
	struct asker asker = {c, f->request};
	char id[128];
	struct reader look = f->payload;
	take_text(&look, id, sizeof id);
	struct container *ct = look.bad ? NULL : container_find(id);
	if (look.bad) {
		conn_fail(c, f->request, EBADMSG, "request", "malformed");
	} else if (!ct) {
		answer_ok(&asker, &nothing);
	} else if (ct->phase == EXITED) {
		if (ct->exit_file[0])
			unlink(ct->exit_file);
		container_forget(ct);
		answer_ok(&asker, &nothing);
	} else if (ct->phase == CREATED) {
		ct->forgotten = true;
		ct->remover = asker;
		container_end(ct);
	} else {
		conn_fail(c, f->request, EBUSY, "state", "the container is running");
	}
}
