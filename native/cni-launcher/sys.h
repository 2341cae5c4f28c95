/* System calls without a C library: its start-up would be a good part of this program's life, and most of its size.
 * Only calls that both architectures have. */
#pragma once

#include <linux/fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/netlink.h>
#include <linux/poll.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/un.h>
#include <linux/unistd.h>
#include <stddef.h>
#include <stdint.h>

#define EINTR 4
#define AF_UNIX 1
#define AF_NETLINK 16
#define SOCK_STREAM 1
#define SOCK_RAW 3
#define SIGCHLD 17
#define SOCK_CLOEXEC 02000000
#define MSG_NOSIGNAL 0x4000

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "no system calls for this architecture here"
#endif

static inline long sys_read(int fd, void *data, size_t size)
{
	return sys6(__NR_read, fd, (long)data, (long)size, 0, 0, 0);
}

static inline long sys_write(int fd, const void *data, size_t size)
{
	return sys6(__NR_write, fd, (long)data, (long)size, 0, 0, 0);
}

static inline long sys_send(int fd, const void *data, size_t size)
{
	return sys6(__NR_sendto, fd, (long)data, (long)size, MSG_NOSIGNAL, 0, 0);
}

static inline int sys_open(const char *path)
{
	return (int)sys6(__NR_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
}

static inline int sys_close(int fd)
{
	return (int)sys6(__NR_close, fd, 0, 0, 0, 0, 0);
}

static inline int sys_dup3(int from, int to)
{
	return (int)sys6(__NR_dup3, from, to, 0, 0, 0, 0);
}

static inline int sys_seek_start(int fd)
{
	return (int)sys6(__NR_lseek, fd, 0, 0, 0, 0, 0);
}

static inline int sys_memfd(const char *name)
{
	return (int)sys6(__NR_memfd_create, (long)name, MFD_CLOEXEC, 0, 0, 0, 0);
}

static inline int sys_executable(const char *path)
{
	return (int)sys6(__NR_faccessat, AT_FDCWD, (long)path, 1, 0, 0, 0);
}

static inline int sys_readable(const char *path)
{
	return (int)sys6(__NR_faccessat, AT_FDCWD, (long)path, 4, 0, 0, 0);
}

static inline long sys_readlink(const char *path, char *target, size_t size)
{
	return sys6(__NR_readlinkat, AT_FDCWD, (long)path, (long)target, (long)size, 0, 0);
}

static inline int sys_socket(void)
{
	return (int)sys6(__NR_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0, 0);
}

static inline int sys_connect(int fd, const struct sockaddr_un *address)
{
	return (int)sys6(__NR_connect, fd, (long)address, sizeof(*address), 0, 0, 0);
}

/* 1 when there is something to read, 0 when the time is over. */
static inline int sys_wait_readable(int fd, int milliseconds)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};
	struct __kernel_timespec time = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
	return (int)sys6(__NR_ppoll, (long)&entry, 1, (long)&time, 0, 0, 0);
}

static inline void sys_sleep(int milliseconds)
{
	struct __kernel_timespec time = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
	sys6(__NR_nanosleep, (long)&time, 0, 0, 0, 0, 0);
}

static inline void *sys_reserve(size_t size)
{
	return (void *)sys6(__NR_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);
}

static inline int sys_exec(const char *file, char *const *arguments, char *const *environment)
{
	return (int)sys6(__NR_execve, (long)file, (long)arguments, (long)environment, 0, 0, 0);
}

static inline int sys_pipe(int ends[2])
{
	return (int)sys6(__NR_pipe2, (long)ends, 0, 0, 0, 0, 0);
}

/* fork(2). */
static inline int sys_fork(void)
{
	return (int)sys6(__NR_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

static inline int sys_new_session(void)
{
	return (int)sys6(__NR_setsid, 0, 0, 0, 0, 0, 0);
}

static inline int sys_netlink(void)
{
	return (int)sys6(__NR_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE, 0, 0, 0);
}

static inline _Noreturn void sys_exit(int code)
{
	for (;;)
		sys6(__NR_exit_group, code, 0, 0, 0, 0, 0);
}
