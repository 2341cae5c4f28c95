#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/io.h"
#include "monitor/monitor.h"

/* A group can be larger than this; then the rest has its turn in the next round. */
#define MEMBERS 1024

static int members(const char *dir, pid_t *pids)
{
	static char text[MEMBERS * 8];
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/cgroup.procs", dir);
	int count = 0;
	if (read_file(path, text, sizeof text) <= 0)
		return 0;
	char *last = strrchr(text, '\n');
	for (char *at = text, *end; last && at < last && count < MEMBERS; at = end + 1) {
		pids[count++] = (pid_t)strtol(at, &end, 10);
		if (end == at)
			return count - 1;
	}
	return count;
}

/* cgroup v1 has no kill: read and signal until nobody is left, and the groups below first. */
static void kill_members(const char *dir, int depth)
{
	static pid_t pids[MEMBERS];
	DIR *d = opendir(dir);
	if (!d)
		return;
	for (struct dirent *e; depth < 8 && (e = readdir(d));) {
		char path[PATH_MAX];
		if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
		    snprintf(path, sizeof path, "%s/%s", dir, e->d_name) >= (int)sizeof path)
			continue;
		kill_members(path, depth + 1);
	}
	closedir(d);
	for (int round = 0; round < 50; round++) {
		int count = members(dir, pids), alive = 0;
		for (int i = 0; i < count; i++)
			alive += pids[i] > 0 && kill(pids[i], SIGKILL) == 0;
		if (alive == 0)
			return;
		/* The dead leave the group as they are reaped, which for the most part is not our work. */
		usleep(round < 5 ? 200 : 2000);
	}
}

void group_kill(const char *dir, bool v2)
{
	char path[PATH_MAX + 16];
	if (!dir[0])
		return;
	snprintf(path, sizeof path, "%s/cgroup.kill", dir);
	if (v2 && write_file(path, "1", 1))
		return;
	kill_members(dir, 0); /* also where cgroup.kill is missing (before Linux 5.14) */
}

/* Parent and session of a process: fields 4 and 6 of its stat. */
static bool family(pid_t pid, pid_t *parent, pid_t *session)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	const char *at = read_file(path, text, sizeof text) > 0 ? strrchr(text, ')') : NULL;
	int group;
	return at && sscanf(at + 1, " %*c %d %d %d", parent, &group, session) == 3;
}

void descendants_kill(pid_t leader, const char *dir)
{
	static pid_t pids[MEMBERS], mine[MEMBERS];
	int found = 1, before = 0;
	mine[0] = leader;
	/* Stopped first, so that the tree stays as it is while it is looked at. */
	kill(-leader, SIGSTOP);
	kill(leader, SIGSTOP);
	while (found != before && found < MEMBERS) {
		before = found;
		int count = dir[0] ? members(dir, pids) : 0;
		for (int i = 0; i < count && found < MEMBERS; i++) {
			pid_t parent, session;
			bool is_mine = false, known = false;
			if (!family(pids[i], &parent, &session))
				continue;
			for (int k = 0; k < found; k++) {
				known |= mine[k] == pids[i];
				is_mine |= mine[k] == parent;
			}
			if (known || !(is_mine || session == leader))
				continue;
			mine[found++] = pids[i];
			kill(pids[i], SIGSTOP);
		}
	}
	kill(-leader, SIGKILL);
	for (int i = 0; i < found; i++)
		kill(mine[i], SIGKILL);
}
