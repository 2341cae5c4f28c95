#include "monitor/monitor.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/pod.h"
#include "monitor/start.h"

struct conn *conns;
static struct watch listen_watch, signal_watch;
static struct asker shutting_down;
static bool ending;

void conn_sent(struct conn *c, bool ok)
{
	if (!ok) {
		/* It is freed when no caller has it in hand any more: see reap_conns. */
		c->dead = true;
		return;
	}
	loop_change(&c->watch, (c->stalled ? 0u : EPOLLIN) | (wire_pending(&c->wire) ? EPOLLOUT : 0u));
}

void conn_fail(struct conn *c, uint32_t request, int error, const char *stage, const char *text)
{
	conn_sent(c, wire_fail(&c->wire, request, error, stage, text));
}

void conn_done(struct conn *c, uint32_t request)
{
	conn_sent(c, wire_send(&c->wire, OP_OK, request, NULL, 0));
}

void answer_ok(struct asker *asker, struct message *m)
{
	if (asker->conn)
		conn_sent(asker->conn, wire_answer(&asker->conn->wire, OP_OK, asker->request, m));
	else
		buffer_free(&m->body);
	asker->conn = NULL;
}

void answer_failed(struct asker *asker, const struct child_report *failed)
{
	if (asker->conn)
		conn_fail(asker->conn, asker->request, failed->error, failed->stage, failed->text);
	asker->conn = NULL;
}

/* text id | u32 exit code | u32 oom | u64 started | u64 finished */
void broadcast_exit(const struct container *ct)
{
	for (struct conn *c = conns; c; c = c->next) {
		if (c->exec || c->attached || c->dead)
			continue;
		struct message m = {0};
		put_text(&m, ct->id);
		put_u32(&m, (uint32_t)exit_code_of(ct->process.status));
		put_u32(&m, ct->oom);
		put_u64(&m, ct->started);
		put_u64(&m, ct->finished);
		conn_sent(c, wire_answer(&c->wire, OP_EXITED, 0, &m));
	}
}

static void begin_shutdown(struct conn *c, struct frame *f)
{
	ending = true;
	if (c)
		shutting_down = (struct asker){c, f->request};
	loop_remove(&listen_watch);
	containers_kill_all();
	shutdown_when_over();
}

void shutdown_when_over(void)
{
	struct message nothing = {0};
	if (!ending)
		return;
	for (const struct container *ct = containers; ct; ct = ct->next)
		if (ct->phase != EXITED)
			return;
	pod_unmake();
	answer_ok(&shutting_down, &nothing);
	/* The last exits have to arrive; who does not read within a moment will find them in their files. */
	for (struct conn *c = conns; c; c = c->next)
		for (int i = 0; i < 100 && wire_pending(&c->wire) && wire_flush(&c->wire); i++)
			usleep(1000);
	_exit(0);
}

static bool dispatch(struct conn *c, struct frame *f)
{
	switch (f->type) {
	case OP_CREATE:
		container_create(c, f);
		break;
	case OP_START:
		container_start(c, f);
		break;
	case OP_KILL:
		container_kill(c, f);
		break;
	case OP_EXEC_SYNC:
		exec_sync(c, f);
		break;
	case OP_EXEC:
		exec_stream(c, f);
		break;
	case OP_ATTACH:
		attach(c, f);
		break;
	case OP_STDIN:
		return !c->attached || attach_frame(c, f);
	case OP_RESIZE:
		exec_resize(c, f);
		break;
	case OP_REOPEN_LOG:
		container_reopen_log(c, f);
		break;
	case OP_LIST:
		container_list(c, f);
		break;
	case OP_REMOVE:
		container_remove(c, f);
		break;
	case OP_CANCEL:
		exec_cancel(c, f->request);
		container_cancel(c, f->request);
		break;
	case OP_SHUTDOWN:
		begin_shutdown(c, f);
		break;
	default:
		conn_fail(c, f->request, ENOSYS, "request", "the monitor knows no such request");
	}
	return true;
}

void conn_serve(struct conn *c)
{
	struct frame f;
	int whole = 0;
	while (!c->dead && !c->stalled && (whole = wire_next(&c->wire, &f)) > 0)
		if (dispatch(c, &f))
			wire_done(&c->wire, &f);
	conn_sent(c, whole >= 0 && !c->dead);
}

static void conn_ready(struct watch *w, uint32_t events)
{
	struct conn *c = owner_of(w, struct conn, watch);
	if (events & EPOLLOUT) {
		conn_sent(c, wire_flush(&c->wire));
		attach_sent(c);
	}
	if (c->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (!wire_receive(&c->wire))
		conn_sent(c, false);
	else
		conn_serve(c);
}

static void reap_conns(void)
{
	for (struct conn **at = &conns; *at;) {
		struct conn *c = *at;
		if (!c->dead) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		attach_over(c);
		exec_session_over(c);
		exec_forget_asker(c);
		containers_forget_asker(c);
		if (shutting_down.conn == c)
			shutting_down.conn = NULL;
		loop_remove(&c->watch);
		wire_close(&c->wire);
		pages_put(c, sizeof *c);
	}
}

static void listen_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct ucred peer;
	socklen_t length = sizeof peer;
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	/* The socket's mode says the same; but a mode can be changed by mistake. */
	bool trusted = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0;
	struct conn *c = trusted ? pages_get(sizeof *c) : NULL;
	if (!c || !loop_add(&c->watch, fd, EPOLLIN, conn_ready)) {
		close(fd);
		if (c)
			pages_put(c, sizeof *c);
		return;
	}
	c->wire.fd = fd;
	c->next = conns;
	conns = c;
}

static void signal_ready(struct watch *w, uint32_t events)
{
	(void)events;
	struct signalfd_siginfo info;
	int status;
	while (read(w->fd, &info, sizeof info) > 0)
		;
	processes_read_status();
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid == pod.init) {
			/* The kernel has killed everything in its namespace, and the pod can't go on without one. */
			warn("init", 0, "process 1 of the pod ended with %d", exit_code_of(status));
			pod.init = 0;
			if (!ending)
				begin_shutdown(NULL, NULL);
		} else {
			processes_reaped(pid, status);
		}
	}
}

static _Noreturn void serve(void)
{
	for (bool busy = true;;) {
		/* A second of silence, and the work areas are given back. */
		bool event = loop_once(busy ? 1000 : -1);
		reap_conns();
		if (busy && !event) {
			log_idle();
			containers_idle();
		}
		busy = event;
	}
}

static void detach(void)
{
	sigset_t set;
	setsid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_DUMPABLE, 0);
	/* An out-of-memory killer that finds us finds the whole pod. Without CAP_SYS_RESOURCE this fails, and things stay. */
	write_file("/proc/self/oom_score_adj", "-999", 4);
	signal(SIGPIPE, SIG_IGN);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	int null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		if (null > 2)
			close(null);
	}
}

void monitor_start(int launcher, bool prepared)
{
	struct wire wire = {.fd = launcher};
	struct child_report failed;
	struct frame f;
	sigset_t set;
	detach();
	set_title("berth-monitor", "(ready)");
	if (prepared && !namespaces_make(SPEC_FLAG_NEW_NET | SPEC_FLAG_NEW_IPC | SPEC_FLAG_NEW_UTS, &failed))
		die("pool", "%s: %s", failed.stage, failed.text);
	int whole;
	while ((whole = wire_next(&wire, &f)) == 0) {
		/* A blocking look for the first byte, then what is there: launcher gone is our end too. */
		char byte;
		if (recv(launcher, &byte, 1, MSG_PEEK) <= 0 || !wire_receive(&wire))
			_exit(0);
	}
	if (whole < 0 || f.type != OP_SPAWN_MONITOR)
		_exit(1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	bool made = signals >= 0 && loop_open() && pod_make(&f.payload, &failed);
	if (made && (!loop_add(&signal_watch, signals, EPOLLIN, signal_ready) ||
		     !loop_add(&listen_watch, pod.socket, EPOLLIN, listen_ready))) {
		made = failure(&failed, "monitor", errno, "event loop");
		pod_unmake();
	}
	struct message m = {0};
	put_u32(&m, (uint32_t)getpid());
	put_u64(&m, start_time(getpid()));
	if (made)
		wire_answer(&wire, OP_OK, f.request, &m);
	else
		wire_fail(&wire, f.request, failed.error, failed.stage, failed.text);
	wire_close(&wire);
	if (!made)
		_exit(1);
	serve();
}
