/* Monitors are forked ahead, each with fresh namespaces: making a network namespace takes 60-150 ms while others are being
 * torn down, and no pod should wait for that. */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "launch/launch.h"
#include "monitor/start.h"

#define POOL_LIMIT 64

struct ready_monitor {
	struct wire wire; /* fd 0: this slot is free */
	struct watch watch;
	pid_t pid;
	bool busy; /* has its spec; answers `request` */
	uint32_t request;
};

static struct ready_monitor monitors[POOL_LIMIT * 2];
static unsigned wanted;

static void monitor_answered(struct watch *w, uint32_t events);

static struct ready_monitor *make_monitor(bool prepared)
{
	struct ready_monitor *m = NULL;
	for (unsigned i = 0; i < POOL_LIMIT * 2 && !m; i++)
		if (monitors[i].wire.fd == 0)
			m = &monitors[i];
	int pair[2];
	if (!m || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return NULL;
	pid_t pid = fork();
	if (pid == 0) {
		forget_launcher(&pair[1], 1);
		monitor_start(pair[1], prepared);
	}
	close(pair[1]);
	if (pid < 0 || !loop_add(&m->watch, pair[0], EPOLLIN, monitor_answered)) {
		close(pair[0]);
		return NULL;
	}
	m->wire = (struct wire){.fd = pair[0]};
	m->pid = pid;
	m->busy = false;
	return m;
}

static void drop_monitor(struct ready_monitor *m)
{
	loop_remove(&m->watch);
	wire_close(&m->wire);
	m->wire.fd = 0;
}

/* The one answer that a monitor gives here goes on to the server as it is; from then on the two speak over its socket. */
static void monitor_answered(struct watch *w, uint32_t events)
{
	(void)events;
	struct ready_monitor *m = owner_of(w, struct ready_monitor, watch);
	struct frame f;
	bool open = wire_receive(&m->wire);
	if (wire_next(&m->wire, &f) > 0 && m->busy) {
		struct iovec part = {(void *)f.payload.at, f.payload.left};
		server_sent(wire_send(&server, f.type, m->request, &part, 1));
		drop_monitor(m);
	} else if (!open) {
		if (m->busy)
			server_sent(wire_fail(&server, m->request, ECHILD, "monitor", "ended before it answered"));
		drop_monitor(m);
	}
}

void spawn_monitor(const struct frame *f)
{
	struct reader spec = f->payload;
	uint32_t flags = take_u32(&spec);
	/* A pod of the host's network takes no namespace from the pool, and a user namespace has to own its own ones. */
	bool pooled = (flags & SPEC_FLAG_NEW_NET) && !(flags & SPEC_FLAG_USERNS);
	struct ready_monitor *m = NULL;
	for (unsigned i = 0; i < POOL_LIMIT * 2 && pooled && !m; i++)
		if (monitors[i].wire.fd > 0 && !monitors[i].busy)
			m = &monitors[i];
	if (!m)
		m = make_monitor(pooled);
	struct iovec part = {(void *)f->payload.at, f->payload.left};
	if (!m || !wire_send(&m->wire, f->type, f->request, &part, 1)) {
		server_sent(wire_fail(&server, f->request, m ? EPIPE : EAGAIN, "monitor", "can't be forked"));
		return;
	}
	/* A spec is far smaller than a socket's buffer; what did not fit at once goes in a blocking send. */
	while (wire_pending(&m->wire)) {
		ssize_t n = send(m->wire.fd, buffer_data(&m->wire.out), buffer_length(&m->wire.out), MSG_NOSIGNAL);
		if (n <= 0)
			break;
		buffer_drop(&m->wire.out, (size_t)n);
	}
	m->busy = true;
	m->request = f->request;
}

bool pool_is_short(void)
{
	unsigned have = 0;
	for (unsigned i = 0; i < POOL_LIMIT * 2; i++)
		have += monitors[i].wire.fd > 0 && !monitors[i].busy;
	return have < wanted;
}

void pool_add(void)
{
	if (!make_monitor(true)) {
		warn("pool", errno, "no monitor is kept ready any more");
		wanted = 0;
	}
}

void pool_open(unsigned size)
{
	wanted = size < POOL_LIMIT ? size : POOL_LIMIT;
}
