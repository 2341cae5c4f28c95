/* Frames over a stream socket, the one format that the server, the launcher and the monitors speak:
 *
 *   u32 length of what follows the header | u16 type (OP_*) | u16 how many fds came with it | u32 request id | payload
 *
 * A reader never trusts a length: what is too long, or claims fds that did not come, ends the connection. */
#ifndef BERTH_WIRE_H
#define BERTH_WIRE_H
#include <sys/uio.h>
#include "common/buffer.h"
#include "common/ops.gen.h"
#include "common/reader.h"

#define FRAME_HEADER 12

struct wire {
	int fd;
	struct buffer in, out;
	int fds[LIMIT_FRAME_FDS];
	unsigned fd_count;
};

struct frame {
	uint16_t type;
	uint32_t request;
	unsigned fd_count;
	struct reader payload;
};

/* Takes in what has arrived. False: the other side is gone or breaks the rules. */
bool wire_receive(struct wire *w);
/* Is a whole frame here? It stays valid until wire_done. -1 breaks the rules. */
int wire_next(struct wire *w, struct frame *f);
/* Drops the frame, and closes those of its fds that nobody took. */
void wire_done(struct wire *w, const struct frame *f);
/* Takes the n-th fd of the present frame: it is the caller's now. -1 when there is none. */
int wire_take_fd(struct wire *w, const struct frame *f, unsigned n);
/* Queues a frame of several parts and sends as much as goes. False: the other side is gone or does not read. */
bool wire_send(struct wire *w, uint16_t type, uint32_t request, const struct iovec *parts, int count);
/* Sends what is queued. False: the other side is gone. */
bool wire_flush(struct wire *w);
void wire_close(struct wire *w);

static inline bool wire_pending(const struct wire *w)
{
	return buffer_length(&w->out) > 0;
}

/* Answers of a few numbers and texts are put together in one of these. */
struct message {
	struct buffer body;
	bool failed;
};
void put_u32(struct message *m, uint32_t value);
void put_u64(struct message *m, uint64_t value);
void put_bytes(struct message *m, const void *data, size_t length);
void put_text(struct message *m, const char *text);
/* Sends it and frees it. */
bool wire_answer(struct wire *w, uint16_t type, uint32_t request, struct message *m);
/* OP_FAILED: i32 errno, text stage, text what. */
bool wire_fail(struct wire *w, uint32_t request, int error, const char *stage, const char *text);

#endif
