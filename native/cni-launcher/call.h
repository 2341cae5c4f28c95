/* What all parts of the launcher share: the call, and ways to speak. */
#pragma once

#include <stddef.h>

#define MOST_BYTES (16UL << 20)

struct call {
	char **environment;
	char *input;
	size_t input_size;
};

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);

/* Writes everything or ends the program. */
void write_all(int fd, const char *data, size_t size);
/* -1 when the other end has gone. */
int send_all(int fd, const void *from, size_t size);
/* Prints an error as the specification has it, and ends the program. */
_Noreturn void fail(const char *code, const char *message);
/* "" when there is no such variable. */
const char *variable(char **environment, const char *name);
/* The environment and one more variable. */
char **with_variable(char **environment, char *more);
/* Becomes the plugin's own program, by Node. */
_Noreturn void run_alone(const struct call *call);
