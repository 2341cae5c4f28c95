/* Runs a CNI plugin many times, as a runtime would, and prints how long each call took. Node needs milliseconds to start a
 * process, which would be most of what there is to measure.
 *
 *   drive COMMAND FIRST COUNT PARALLEL PLUGIN... < configuration
 *
 * Attachment i is container "pod<i>" in /run/netns/pod<i>; "@PORT@" in the configuration becomes 20000+i. With several plugins
 * the calls make a chain (without passing results on, for plugins that ignore them: "prevResult" is added from the first one's
 * output). Prints one line per attachment: index, microseconds, exit code; output of failures goes to standard error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char configuration[1 << 16];
static const char *command;
static char **plugins;
static int first, count, next_index;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int call(int index, const char *plugin, const char *input, char *output, size_t size)
{
	int in[2], out[2];
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		exit(2);
	char environment[6][256];
	snprintf(environment[0], 256, "CNI_COMMAND=%s", command);
	snprintf(environment[1], 256, "CNI_CONTAINERID=pod%d", index);
	snprintf(environment[2], 256, "CNI_NETNS=/run/netns/pod%d", index);
	snprintf(environment[3], 256, "CNI_IFNAME=eth0");
	snprintf(environment[4], 256, "CNI_PATH=%s", getenv("CNI_PATH") ? getenv("CNI_PATH") : "/usr/lib/cni");
	snprintf(environment[5], 256, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	char socket[256], run_dir[256];
	snprintf(socket, 256, "BERTH_CNI_SOCKET=%s", getenv("BERTH_CNI_SOCKET") ? getenv("BERTH_CNI_SOCKET") : "");
	snprintf(run_dir, 256, "BERTH_CNI_RUN_DIR=%s", getenv("BERTH_CNI_RUN_DIR") ? getenv("BERTH_CNI_RUN_DIR") : "");
	char *env[] = {environment[0], environment[1], environment[2], environment[3], environment[4], environment[5],
		       socket, run_dir, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	char *argv[] = {(char *)plugin, NULL};
	pid_t pid;
	if (posix_spawn(&pid, plugin, &actions, NULL, argv, env) != 0)
		exit(2);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	if (write(in[1], input, strlen(input)) < 0)
		fprintf(stderr, "write: %s\n", strerror(errno));
	close(in[1]);
	size_t length = 0;
	ssize_t got;
	while ((got = read(out[0], output + length, size - 1 - length)) > 0)
		length += (size_t)got;
	output[length] = '\0';
	close(out[0]);
	int status;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void replace(char *to, size_t size, const char *from, const char *what, const char *by)
{
	const char *at = strstr(from, what);
	if (at == NULL)
		snprintf(to, size, "%s", from);
	else
		snprintf(to, size, "%.*s%s%s", (int)(at - from), from, by, at + strlen(what));
}

static void *work(void *unused)
{
	(void)unused;
	char input[1 << 16], chained[1 << 17], output[1 << 16], port[16];
	for (;;) {
		pthread_mutex_lock(&lock);
		int index = next_index++;
		pthread_mutex_unlock(&lock);
		if (index >= first + count)
			return NULL;
		snprintf(port, sizeof(port), "%d", 20000 + index);
		replace(input, sizeof(input), configuration, "@PORT@", port);
		snprintf(chained, sizeof(chained), "%s", input);
		double start = now();
		int code = 0;
		for (char **plugin = plugins; *plugin != NULL && code == 0; plugin++) {
			code = call(index, *plugin, chained, output, sizeof(output));
			if (code != 0)
				fprintf(stderr, "pod%d %s: %s\n", index, *plugin, output);
			else if (plugin[1] != NULL && strcmp(command, "ADD") == 0)
				snprintf(chained, sizeof(chained), "{\"prevResult\":%s,%s", output, input + 1);
		}
		double end = now();
		pthread_mutex_lock(&lock);
		printf("%d %.0f %d\n", index, end - start, code);
		pthread_mutex_unlock(&lock);
	}
}

int main(int argc, char **argv)
{
	if (argc < 6)
		return 2;
	command = argv[1];
	first = next_index = atoi(argv[2]);
	count = atoi(argv[3]);
	int parallel = atoi(argv[4]);
	plugins = argv + 5;
	size_t length = fread(configuration, 1, sizeof(configuration) - 1, stdin);
	configuration[length] = '\0';
	pthread_t threads[64];
	double start = now();
	for (int i = 0; i < parallel; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (int i = 0; i < parallel; i++)
		pthread_join(threads[i], NULL);
	printf("wall %.0f\n", now() - start);
	return 0;
}
