/* The executable that network configurations name. It hands the call to a server of this host over a Unix socket and
 * prints the answer; where no server takes it, it becomes the plugin's own program, by Node. The dialogue is described
 * in cni-plugin/src/resident/protocol.ts. */
#include "sys.h"
#include "text.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#define DEFAULT_SOCKET "/run/berth/cni.sock"
#define DEFAULT_HOME "/usr/lib/berth"
#define PROTOCOL_VERSION 1
#define MOST_BYTES (16UL << 20)
#define PATH_MAX_BYTES 4096
#define PATIENCE_MS 2000
#define LAST_WORD_MS 500
#define DOOMED_GROUP 0x62657274
#define VERSIONS "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"

struct header {
	char magic[4];
	uint32_t version;
	int32_t own_netns;
	int32_t netns;
	uint32_t environment_size;
	uint32_t input_size;
};

struct call {
	char **environment;
	char *input;
	size_t input_size;
};

void launcher_main(long *stack);
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);

/* The compiler may call these two for its own purposes. */
void *memcpy(void *to, const void *from, size_t size)
{
	char *out = to;
	const char *in = from;
	for (size_t i = 0; i < size; i++)
		out[i] = in[i];
	return to;
}

void *memset(void *to, int value, size_t size)
{
	char *out = to;
	for (size_t i = 0; i < size; i++)
		out[i] = (char)value;
	return to;
}

static void write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		long count = sys_write(fd, data, size);
		if (count == -EINTR)
			continue;
		if (count <= 0)
			sys_exit(1);
		data += count;
		size -= (size_t)count;
	}
}

static int send_all(int fd, const void *from, size_t size)
{
	const char *data = from;
	while (size > 0) {
		long count = sys_send(fd, data, size);
		if (count == -EINTR)
			continue;
		if (count <= 0)
			return -1;
		data += count;
		size -= (size_t)count;
	}
	return 0;
}

static int read_exactly(int fd, void *to, size_t size)
{
	char *data = to;
	while (size > 0) {
		long count = sys_read(fd, data, size);
		if (count == -EINTR)
			continue;
		if (count <= 0)
			return -1;
		data += count;
		size -= (size_t)count;
	}
	return 0;
}

static _Noreturn void fail(const char *code, const char *message)
{
	char text[512];
	size_t length = text_append(text, sizeof(text), 0, "{\n    \"cniVersion\": \"1.1.0\",\n    \"code\": ");
	length = text_append(text, sizeof(text), length, code);
	length = text_append(text, sizeof(text), length, ",\n    \"msg\": \"");
	length = text_append(text, sizeof(text), length, message);
	length = text_append(text, sizeof(text), length, "\"\n}\n");
	write_all(1, text, length);
	sys_exit(1);
}

static const char *variable(char **environment, const char *name)
{
	size_t length = text_length(name);
	for (; *environment != NULL; environment++)
		if (text_begins(*environment, name) && (*environment)[length] == '=')
			return *environment + length + 1;
	return "";
}

static void read_input(struct call *call)
{
	call->input = sys_reserve(MOST_BYTES);
	if ((unsigned long)call->input > -4096UL)
		fail("5", "no memory for standard input");
	for (;;) {
		long count = sys_read(0, call->input + call->input_size, MOST_BYTES - call->input_size);
		if (count == -EINTR)
			continue;
		if (count < 0)
			fail("5", "standard input can't be read");
		if (count == 0)
			return;
		call->input_size += (size_t)count;
		if (call->input_size == MOST_BYTES)
			fail("6", "the network configuration is larger than 16 MiB");
	}
}

/* The first value of this key, if it is a plain string; for what must be known before anyone parses JSON. Returns its
 * length, or -1. `key` has its quotes. */
static int plain_value(const struct call *call, const char *key, char *value, size_t size)
{
	const char *at = call->input;
	const char *end = call->input + call->input_size;
	size_t key_length = text_length(key);
	for (; at + key_length < end; at++)
		if (bytes_equal(at, key, key_length))
			break;
	if (at + key_length >= end)
		return -1;
	at += key_length;
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r' || *at == ':'))
		at++;
	if (at >= end || *at++ != '"')
		return -1;
	for (size_t length = 0; at < end && length + 1 < size; length++, at++) {
		if (*at == '\\')
			return -1;
		if (*at == '"') {
			value[length] = '\0';
			return (int)length;
		}
		value[length] = *at;
	}
	return -1;
}

static void print_version(const struct call *call)
{
	static const char *const versions[] = {VERSIONS};
	char asked[64];
	char text[512];
	if (plain_value(call, "\"cniVersion\"", asked, sizeof(asked)) < 0)
		text_append(asked, sizeof(asked), 0, versions[sizeof(versions) / sizeof(*versions) - 1]);
	size_t length = text_append(text, sizeof(text), 0, "{\n    \"cniVersion\": \"");
	length = text_append(text, sizeof(text), length, asked);
	length = text_append(text, sizeof(text), length, "\",\n    \"supportedVersions\": [\n");
	for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
		length = text_append(text, sizeof(text), length, i == 0 ? "        \"" : ",\n        \"");
		length = text_append(text, sizeof(text), length, versions[i]);
		length = text_append(text, sizeof(text), length, "\"");
	}
	length = text_append(text, sizeof(text), length, "\n    ]\n}\n");
	write_all(1, text, length);
}

static int connect_server(const struct call *call)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = variable(call->environment, "BERTH_CNI_SOCKET");
	if (*path != '\0')
		text_append(address.sun_path, sizeof(address.sun_path), 0, path);
	else if (plain_value(call, "\"serverSocket\"", address.sun_path, sizeof(address.sun_path)) <= 0)
		text_append(address.sun_path, sizeof(address.sun_path), 0, DEFAULT_SOCKET);
	int fd = sys_socket();
	if (fd < 0)
		return -1;
	if (sys_connect(fd, &address) == 0)
		return fd;
	sys_close(fd);
	return -1;
}

static int send_request(const struct call *call, int server)
{
	size_t environment_size = 0;
	for (char **entry = call->environment; *entry != NULL; entry++)
		environment_size += text_length(*entry) + 1;
	if (environment_size > MOST_BYTES)
		return -1;
	const char *netns = variable(call->environment, "CNI_NETNS");
	int netns_fd = *netns == '\0' ? -1 : sys_open(netns);
	struct header header = {
		.magic = {'B', 'C', 'N', 'I'},
		.version = PROTOCOL_VERSION,
		.own_netns = sys_open("/proc/self/ns/net"),
		.netns = netns_fd < 0 ? -1 : netns_fd,
		.environment_size = (uint32_t)environment_size,
		.input_size = (uint32_t)call->input_size,
	};
	if (header.own_netns < 0)
		return -1;
	char *bytes = sys_reserve(sizeof(header) + environment_size);
	if ((unsigned long)bytes > -4096UL)
		return -1;
	memcpy(bytes, &header, sizeof(header));
	size_t at = sizeof(header);
	for (char **entry = call->environment; *entry != NULL; entry++) {
		size_t length = text_length(*entry) + 1;
		memcpy(bytes + at, *entry, length);
		at += length;
	}
	return send_all(server, bytes, at) < 0 ? -1 : send_all(server, call->input, call->input_size);
}

/* 'A' when the server has begun; anything else: it hasn't and never will. */
static char await_verdict(int server)
{
	char verdict = 'R';
	if (sys_wait_readable(server, PATIENCE_MS) == 0) {
		/* A server that reads this together with the request refuses; one that has read the request answers now. */
		if (send_all(server, "C", 1) < 0 || sys_wait_readable(server, LAST_WORD_MS) == 0)
			return 'R';
	}
	return read_exactly(server, &verdict, 1) < 0 ? 'R' : verdict;
}

static _Noreturn void relay_answer(int server)
{
	uint32_t answer[2];
	if (read_exactly(server, answer, sizeof(answer)) < 0)
		fail("11", "the server of this plugin ended while it worked on the call");
	char *output = sys_reserve(answer[1] + 1UL);
	if ((unsigned long)output > -4096UL || read_exactly(server, output, answer[1]) < 0)
		fail("11", "the server of this plugin ended while it answered the call");
	write_all(1, output, answer[1]);
	sys_exit((int)answer[0]);
}

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
		delete_doomed_links();
		sys_exit(0);
	}
	sys_close(ends[0]);
	return child > 0;
}

/* The environment and one more variable. */
static char **with_variable(char **environment, char *variable)
{
	size_t count = 0;
	while (environment[count] != NULL)
		count++;
	char **longer = sys_reserve((count + 2) * sizeof(*longer));
	if ((unsigned long)longer > -4096UL)
		return environment;
	memcpy(longer, environment, count * sizeof(*longer));
	longer[count] = variable;
	longer[count + 1] = NULL;
	return longer;
}

static _Noreturn void run_alone(const struct call *call)
{
	static char unlinker[] = "BERTH_CNI_UNLINKER=1";
	static const char *const nodes[] = {"/node", "/node_modules/.bin/node", "/bin/node", NULL};
	static const char *const scripts[] = {"/cni.js", "/dist/cni.js", NULL};
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
		fail("5", "no server of this plugin answers, and there is no node with cni.js near it or in " DEFAULT_HOME);
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

/* The kernel's start: the stack has argc, the arguments, a zero, and the environment. */
void launcher_main(long *stack)
{
	struct call call = {.environment = (char **)(stack + stack[0] + 2)};
	const char *command = variable(call.environment, "CNI_COMMAND");
	if (*command == '\0') {
		static const char about[] = "CNI plugin berth\n"
					    "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n";
		write_all(2, about, sizeof(about) - 1);
		sys_exit(0);
	}
	read_input(&call);
	if (text_length(command) == 7 && text_begins(command, "VERSION")) {
		print_version(&call);
		sys_exit(0);
	}
	int server = connect_server(&call);
	if (server >= 0) {
		if (send_request(&call, server) == 0 && await_verdict(server) == 'A')
			relay_answer(server);
		sys_close(server);
	}
	run_alone(&call);
}
