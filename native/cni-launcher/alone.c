/* The plugin on its own, where no server takes the call. */
#include "call.h"
#include "sys.h"
#include "text.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#define DEFAULT_HOME "/usr/lib/berth"
#define DOOMED_GROUP 0x62657274
#define UNLINK_DELAY_MS 200
#define PATH_MAX_BYTES 4096

static int find(char *path, size_t size, const char *const *bases, const char *const *names, int (*test)(const char *))
{
	for (; *bases != NULL; bases++) {
		for (const char *const *name = names; *name != NULL; name++) {
			size_t length = text_append(path, size, 0, *bases);
			text_append(path, size, length, *name);
			if (test(path) == 0)
				return 0;
		}
	}
	return -1;
}

/* Node's own variables are the caller's for its own programs: a loader or an agent in them would run here. */
static void drop_node_variables(char **environment)
{
	char **to = environment;
	for (char **from = environment; *from != NULL; from++)
		if (!text_begins(*from, "NODE_"))
			*to++ = *from;
	*to = NULL;
}

/* Deletes the links that the plugin has cut off and put into their group (cni-plugin/src/link/unlink.ts). */
static void delete_doomed_links(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr attribute;
		uint32_t group;
	} message = {
		.header = {.nlmsg_len = sizeof(message), .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST},
		.attribute = {.rta_len = sizeof(struct rtattr) + sizeof(uint32_t), .rta_type = IFLA_GROUP},
		.group = DOOMED_GROUP,
	};
	int socket = sys_netlink();
	if (socket >= 0)
		send_all(socket, &message, sizeof(message));
}

/* The kernel takes some 30 ms to delete a link, and nobody has to wait for it: a child stays behind until the plugin
 * has ended, in whatever way, and then does it. Returns whether there is such a child. */
static int leave_child_behind(void)
{
	int ends[2];
	char byte;
	if (sys_pipe(ends) < 0)
		return 0;
	int child = sys_fork();
	if (child == 0) {
		sys_close(ends[1]);
		sys_new_session();
		/* The caller waits for the end of its pipes, not only of its child. */
		for (int fd = 0; fd < 3; fd++)
			sys_close(fd);
		while (sys_read(ends[0], &byte, 1) == -EINTR)
			;
		/* All work on links waits while one is deleted: of calls that follow closely only one shall meet that. */
		sys_sleep(UNLINK_DELAY_MS);
		delete_doomed_links();
		sys_exit(0);
	}
	sys_close(ends[0]);
	return child > 0;
}

_Noreturn void run_alone(const struct call *call)
{
	static char unlinker[] = "BERTH_CNI_UNLINKER=1";
	static const char *const nodes[] = {"/node", "/node_modules/.bin/node", "/bin/node", NULL};
	static const char *const scripts[] = {"/cni.cjs", "/dist/cni.cjs", NULL};
	char home[PATH_MAX_BYTES] = "";
	char parent[PATH_MAX_BYTES];
	char grandparent[PATH_MAX_BYTES];
	char node[PATH_MAX_BYTES];
	char script[PATH_MAX_BYTES];
	long length = sys_readlink("/proc/self/exe", home, sizeof(home) - 1);
	while (length > 0 && home[length] != '/')
		length--;
	home[length > 0 ? length : 0] = '\0';
	text_append(parent, sizeof(parent), text_append(parent, sizeof(parent), 0, home), "/..");
	text_append(grandparent, sizeof(grandparent), text_append(grandparent, sizeof(grandparent), 0, parent), "/..");
	const char *const bases[] = {home, parent, grandparent, DEFAULT_HOME, NULL};
	if (find(node, sizeof(node), bases, nodes, sys_executable) < 0 ||
	    find(script, sizeof(script), bases, scripts, sys_readable) < 0)
		fail("5", "no server of this plugin answers, and there is no node with cni.cjs near it or in " DEFAULT_HOME);
	int input = sys_memfd("cni-config");
	if (input < 0)
		fail("5", "no memory file for the network configuration");
	write_all(input, call->input, call->input_size);
	sys_seek_start(input);
	if (sys_dup3(input, 0) < 0)
		fail("5", "standard input can't be replaced");
	drop_node_variables(call->environment);
	char **environment = call->environment;
	if (text_begins(variable(environment, "CNI_COMMAND"), "DEL") && leave_child_behind())
		environment = with_variable(environment, unlinker);
	char *const arguments[] = {node, script, NULL};
	sys_exec(node, arguments, environment);
	fail("5", "node can't be executed");
}
