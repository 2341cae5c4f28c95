/* Small things that every program here needs from the kernel. */
#ifndef BERTH_IO_H
#define BERTH_IO_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Nanoseconds since the epoch, and milliseconds of a clock that nobody sets. */
uint64_t now_ns(void);
int64_t now_ms(void);
bool write_all(int fd, const void *data, size_t length);
/* As much as there is, at most `size`; -1 on error. */
ssize_t read_all(int fd, void *data, size_t size);
/* A small file, NUL-terminated; -1 on error. */
ssize_t read_file(const char *path, char *to, size_t size);
/* Opens the regular file that an O_PATH fd stands for, and takes that: to open a device is to use it (a watchdog would start, a
 * tape rewind), a FIFO would hold us for ever. -1: it is something else (EINVAL; a link: ELOOP), or can't be opened. */
int open_regular(int path, int flags);
/* In one write, as kernel files want it. */
bool write_file(const char *path, const char *value, size_t length);
/* Field 22 of /proc/PID/stat, which tells a process from a later one with its pid; 0 when there is none. */
uint64_t start_time(pid_t pid);
/* What a shell would say: 128 and the signal. `status` is as wait gives it. */
int exit_code_of(int status);
/* Closes it if it is one; errno stays as it was, for whoever is about to give up. */
void close_calmly(int fd);
/* All fds from `first` on. */
void close_from(unsigned first);
/* Says so on stderr and goes on: what a long-lived loop does with a fault. errno is appended when it is not 0. */
void warn(const char *stage, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What a short-lived process does with a fault. */
_Noreturn void die(const char *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Room for the process's title is what main() was given; call it once there. */
void title_room(int argc, char **argv);
void set_title(const char *name, const char *detail);

#endif
