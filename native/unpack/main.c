#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char usage[] = "usage: berth-unpack SOCKET IMAGES-DIRECTORY LAYERS-DIRECTORY\n";

static int listen_at(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof address.sun_path)
		fail("listen", fd < 0 ? errno : ENAMETOOLONG, "%s", path);
	strcpy(address.sun_path, path);
	umask(0177);
	if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0)
		fail("listen", errno, "%s", path);
	umask(0);
	return fd;
}

static _Noreturn void work(int connection) {
	struct request request;
	struct totals totals = {0};
	char blob[DIGEST_HEX], diff[DIGEST_HEX];

	report_to(connection);
	confine_apart();
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		fail("open", errno, "/");
	request_read(&request, connection, root);
	close(root);
	/* Who only hashes gets an empty directory that can't be written to. */
	int target = request.target >= 0 ? request.target : open("/empty", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target < 0)
		fail("open", errno, "/empty");
	confine_worker(target);
	/* Not the descriptor from outside: that one is of the mount that was left behind. */
	int inside = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (inside < 0 || close(target) < 0)
		fail("open", errno, "the layer's directory");
	struct source *source = source_open(&request);
	confine_syscalls();
	source_start(source);
	if (request.target >= 0) {
		totals.inodes = 1;
		apply(tar_open(source), source, place_open(inside, &totals), &request, &totals);
	}
	source_finish(source, blob, diff);
	reply("done %s %s %llu %llu %llu %llu %llu %llu\n", blob, diff, (unsigned long long)source_offset(source),
	      (unsigned long long)totals.entries, (unsigned long long)totals.disk, (unsigned long long)totals.inodes,
	      (unsigned long long)totals.implied, (unsigned long long)totals.skipped);
	_exit(0);
}

static void take_one(int listener) {
	struct ucred peer;
	socklen_t length = sizeof peer;
	int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (connection < 0)
		return;
	bool allowed = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0;
	pid_t pid = allowed ? fork() : -1;
	if (pid == 0) {
		close(listener);
		/* The end of the server must not be taken for a part of the dialogue. */
		close(STDIN_FILENO);
		work(connection);
	}
	if (pid < 0 && allowed) {
		char line[128];
		int n = snprintf(line, sizeof line, "fail fork %d %s\n", errno, strerror(errno));
		if (write(connection, line, (size_t)n) < 0)
			fprintf(stderr, "berth-unpack: fork: %m\n");
	}
	close(connection);
}

/* Serves until its standard input ends, which is when the server does. */
int main(int argc, char **argv) {
	if (argc != 4) {
		fputs(usage, stderr);
		return 2;
	}
	report_to(STDOUT_FILENO);
	/* Children are not waited for: their connection says how they ended. */
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* A worker's second thread allocates next to nothing. */
	mallopt(M_ARENA_MAX, 1);
	int listener = listen_at(argv[1]);
	confine_service(argv[2], argv[3]);
	reply("ready\n");

	struct pollfd watched[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
	for (;;) {
		if (poll(watched, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (watched[0].revents & (POLLHUP | POLLERR | POLLNVAL | POLLIN))
			_exit(0);
		if (watched[1].revents)
			take_one(listener);
	}
}
