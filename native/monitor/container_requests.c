/* What the server asks of a container that is there. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

struct container *container_named(struct reader *request)
{
	uint32_t length;
	const uint8_t *id = take_bytes(request, &length);
	for (struct container *ct = containers; ct && id; ct = ct->next)
		if (strlen(ct->id) == length && memcmp(ct->id, id, length) == 0)
			return ct;
	return NULL;
}

static struct container *named(struct conn *c, struct frame *f)
{
	struct container *ct = container_named(&f->payload);
	if (!ct)
		conn_fail(c, f->request, ENOENT, "container", "no such container");
	return ct;
}

void container_start(struct conn *c, struct frame *f)
{
	struct container *ct = named(c, f);
	if (!ct)
		return;
	if (ct->phase != CREATED || write(ct->process.child.status, "", 1) != 1) {
		conn_fail(c, f->request, EINVAL, "state", "the container is not in the state created");
		return;
	}
	ct->phase = STARTING;
	process_go(&ct->process);
	ct->starter = (struct asker){c, f->request};
}

/* bytes id | u32 signal | u32 all */
void container_kill(struct conn *c, struct frame *f)
{
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
	if (syscall(SYS_pidfd_send_signal, ct->process.child.pidfd, (int)sig, NULL, 0) < 0 && errno != ESRCH) {
		conn_fail(c, f->request, errno, "kill", ct->id);
		return;
	}
	if (all && sig == SIGKILL)
		group_kill(ct->cgroup, ct->v2);
	conn_done(c, f->request);
}

void container_reopen_log(struct conn *c, struct frame *f)
{
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
	conn_done(c, f->request);
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
		put_u32(&m, (uint32_t)ct->process.child.pid);
		put_u64(&m, ct->start_time);
		put_u64(&m, ct->started);
		put_u64(&m, exited ? ct->finished : 0);
		put_u32(&m, exited ? (uint32_t)exit_code_of(ct->process.status) : 0);
		put_u32(&m, ct->oom);
	}
	struct asker asker = {c, f->request};
	answer_ok(&asker, &m);
}

void container_remove(struct conn *c, struct frame *f)
{
	struct container *ct = container_named(&f->payload);
	if (f->payload.bad) {
		conn_fail(c, f->request, EBADMSG, "request", "malformed");
	} else if (!ct) {
		conn_done(c, f->request);
	} else if (ct->phase == EXITED) {
		if (ct->exit_file[0])
			unlink(ct->exit_file);
		container_forget(ct);
		conn_done(c, f->request);
	} else if (ct->phase == CREATED) {
		ct->forgotten = true;
		ct->remover = (struct asker){c, f->request};
		process_kill(&ct->process);
	} else {
		conn_fail(c, f->request, EBUSY, "state", "the container is running");
	}
}
