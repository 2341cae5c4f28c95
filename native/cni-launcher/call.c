#include "call.h"
#include "sys.h"
#include "text.h"

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

void write_all(int fd, const char *data, size_t size)
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

int send_all(int fd, const void *from, size_t size)
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

_Noreturn void fail(const char *code, const char *message)
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

const char *variable(char **environment, const char *name)
{
	size_t length = text_length(name);
	for (; *environment != NULL; environment++)
		if (text_begins(*environment, name) && (*environment)[length] == '=')
			return *environment + length + 1;
	return "";
}

char **with_variable(char **environment, char *more)
{
	size_t count = 0;
	while (environment[count] != NULL)
		count++;
	char **longer = sys_reserve((count + 2) * sizeof(*longer));
	if ((unsigned long)longer > -4096UL)
		return environment;
	memcpy(longer, environment, count * sizeof(*longer));
	longer[count] = more;
	longer[count + 1] = NULL;
	return longer;
}
