/* The executable that network configurations name. It hands the call to a server of this host over a Unix socket and
 * prints the answer; where no server takes it, it becomes the plugin's own program, by Node. The dialogue is described
 * in cni-plugin/src/resident/protocol.ts. */
#include "call.h"
#include "sys.h"
#include "text.h"

#define DEFAULT_SOCKET "/run/berth/cni.sock"
#define PROTOCOL_VERSION 1
#define PATIENCE_MS 2000
#define LAST_WORD_MS 500
#define VERSIONS "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"

struct header {
	char magic[4];
	uint32_t version;
	int32_t own_netns;
	int32_t netns;
	uint32_t environment_size;
	uint32_t input_size;
};

void launcher_main(long *stack);

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall launcher_main\n\thlt\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl launcher_main\n\tbrk #0\n");
#endif

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

static const char *base_name(const char *path)
{
	const char *name = path;
	for (; *path != '\0'; path++)
		if (*path == '/')
			name = path + 1;
	return name;
}

/* The kernel's start: the stack has argc, the arguments, a zero, and the environment. */
void launcher_main(long *stack)
{
	/* The plugin can stand in for others by a link of their name. */
	static char name[64];
	struct call call = {.environment = (char **)(stack + stack[0] + 2)};
	size_t length = text_append(name, sizeof(name), 0, "BERTH_CNI_NAME=");
	text_append(name, sizeof(name), length, stack[0] > 0 ? base_name((const char *)stack[1]) : "");
	call.environment = with_variable(call.environment, name);
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
