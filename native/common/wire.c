#include "common/wire.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Somebody who lets this much pile up does not read any more. */
#define OUT_LIMIT (64u << 20)

static void keep_fds(struct wire *w, const struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (w->fd_count < LIMIT_FRAME_FDS)
				w->fds[w->fd_count++] = fd;
			else
				close(fd);
		}
	}
}

bool wire_receive(struct wire *w)
{
	/* A frame that has begun says how much room it needs; a fresh one gets a page. */
	size_t want = 4096;
	uint32_t length;
	if (buffer_length(&w->in) >= FRAME_HEADER) {
		memcpy(&length, buffer_data(&w->in), sizeof length);
		if (length > LIMIT_FRAME)
			return false;
		if (length + FRAME_HEADER > buffer_length(&w->in))
			want = length + FRAME_HEADER - buffer_length(&w->in);
	}
	/* Room that is there already is used as it is: an empty page takes 4096 bytes, not 8192. */
	if (w->in.size - w->in.end == 0 || want > 4096)
		if (!buffer_reserve(&w->in, want))
			return false;
	if (w->in.size == 0 && !buffer_reserve(&w->in, want))
		return false;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(LIMIT_FRAME_FDS * sizeof(int))];
	struct iovec part = {w->in.at + w->in.end, w->in.size - w->in.end};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t got = recvmsg(w->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	keep_fds(w, &m);
	w->in.end += (size_t)got;
	return got > 0;
}

int wire_next(struct wire *w, struct frame *f)
{
	if (buffer_length(&w->in) < FRAME_HEADER)
		return 0;
	const uint8_t *header = buffer_data(&w->in);
	uint32_t length;
	uint16_t fds;
	memcpy(&length, header, sizeof length);
	memcpy(&f->type, header + 4, sizeof f->type);
	memcpy(&fds, header + 6, sizeof fds);
	memcpy(&f->request, header + 8, sizeof f->request);
	if (length > LIMIT_FRAME)
		return -1;
	if (buffer_length(&w->in) - FRAME_HEADER < length)
		return 0;
	/* The fds of a frame arrive with its first byte. */
	if (fds > w->fd_count)
		return -1;
	f->fd_count = fds;
	f->payload = (struct reader){.at = header + FRAME_HEADER, .left = length};
	return 1;
}

int wire_take_fd(struct wire *w, const struct frame *f, unsigned n)
{
	if (n >= f->fd_count)
		return -1;
	int fd = w->fds[n];
	w->fds[n] = -1;
	return fd;
}

void wire_done(struct wire *w, const struct frame *f)
{
	for (unsigned i = 0; i < f->fd_count; i++)
		if (w->fds[i] >= 0)
			close(w->fds[i]);
	w->fd_count -= f->fd_count;
	memmove(w->fds, w->fds + f->fd_count, w->fd_count * sizeof w->fds[0]);
	uint32_t length;
	memcpy(&length, buffer_data(&w->in), sizeof length);
	buffer_drop(&w->in, FRAME_HEADER + length);
}

bool wire_flush(struct wire *w)
{
	while (wire_pending(w)) {
		ssize_t sent = send(w->fd, buffer_data(&w->out), buffer_length(&w->out), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		buffer_drop(&w->out, (size_t)sent);
	}
	return true;
}

bool wire_send(struct wire *w, uint16_t type, uint32_t request, const struct iovec *parts, int count)
{
	uint8_t header[FRAME_HEADER] = {0};
	struct iovec all[8] = {{header, sizeof header}};
	size_t length = 0, sent = 0;
	for (int i = 0; i < count; i++) {
		all[i + 1] = parts[i];
		length += parts[i].iov_len;
	}
	uint32_t length32 = (uint32_t)length;
	memcpy(header, &length32, sizeof length32);
	memcpy(header + 4, &type, sizeof type);
	memcpy(header + 8, &request, sizeof request);
	if (!wire_pending(w)) {
		struct msghdr m = {.msg_iov = all, .msg_iovlen = (size_t)count + 1};
		ssize_t n = sendmsg(w->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		sent = n > 0 ? (size_t)n : 0;
	}
	if (buffer_length(&w->out) + length > OUT_LIMIT)
		return false;
	for (int i = 0; i <= count; i++) {
		size_t skip = sent < all[i].iov_len ? sent : all[i].iov_len;
		sent -= skip;
		if (!buffer_add(&w->out, (uint8_t *)all[i].iov_base + skip, all[i].iov_len - skip))
			return false;
	}
	return true;
}

void wire_close(struct wire *w)
{
	for (unsigned i = 0; i < w->fd_count; i++)
		if (w->fds[i] >= 0)
			close(w->fds[i]);
	close(w->fd);
	buffer_free(&w->in);
	buffer_free(&w->out);
	w->fd_count = 0;
	w->fd = -1;
}

static void put(struct message *m, const void *data, size_t length)
{
	if (!buffer_add(&m->body, data, length))
		m->failed = true;
}

void put_u32(struct message *m, uint32_t value)
{
	put(m, &value, sizeof value);
}

void put_u64(struct message *m, uint64_t value)
{
	put(m, &value, sizeof value);
}

void put_bytes(struct message *m, const void *data, size_t length)
{
	put_u32(m, (uint32_t)length);
	put(m, data, length);
}

void put_text(struct message *m, const char *text)
{
	put_bytes(m, text, strlen(text));
}

bool wire_answer(struct wire *w, uint16_t type, uint32_t request, struct message *m)
{
	struct iovec part = {buffer_length(&m->body) ? buffer_data(&m->body) : NULL, buffer_length(&m->body)};
	/* Half an answer would be taken for a whole one. */
	bool sent = !m->failed && wire_send(w, type, request, &part, 1);
	buffer_free(&m->body);
	return sent;
}

bool wire_fail(struct wire *w, uint32_t request, int error, const char *stage, const char *text)
{
	struct message m = {0};
	put_u32(&m, (uint32_t)error);
	put_text(&m, stage);
	put_text(&m, text);
	return wire_answer(w, OP_FAILED, request, &m);
}
