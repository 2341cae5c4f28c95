/* Keeps what comes out of a pipe, up to a limit. */
#ifndef BERTH_CAPTURE_H
#define BERTH_CAPTURE_H
#include "common/buffer.h"
#include "common/loop.h"
#include "common/wire.h"

struct capture {
	struct watch watch; /* fd -1: at its end */
	struct buffer kept;
	size_t limit;
	void (*over)(struct capture *c); /* may free it */
};

/* Takes the fd over. What is above the limit is read all the same, or the writer would wait for ever. */
void capture_start(struct capture *c, int fd, size_t limit, void (*over)(struct capture *c));
void capture_close(struct capture *c);
/* Answers with how a program ended and what it said: u32 exit code | u32 timed out | bytes stdout | bytes stderr. */
bool capture_answer(struct wire *w, uint32_t request, int status, bool timed_out, const struct capture *out,
		    const struct capture *err);

#endif
