/* Copies between a terminal and a pipe. What the reader does not take is not read from the writer. */
#ifndef BERTH_RELAY_H
#define BERTH_RELAY_H
#include "common/buffer.h"
#include "common/loop.h"

struct relay {
	struct watch source, sink;
	int from, to; /* -1: closed */
	struct buffer held;
	void (*over)(struct relay *r); /* when it has ended by itself; may free it */
};

void relay_init(struct relay *r);
/* Takes both fds over. */
void relay_start(struct relay *r, int from, int to, void (*over)(struct relay *r));
bool relay_open(const struct relay *r);
void relay_close(struct relay *r);

#endif
