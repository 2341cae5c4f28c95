/*
 * Preloaded into user-mode Linux. Its buffer for a process's vector registers was sized when the kernel was built; on a processor
 * with larger ones (AMX: 11 KB) Linux refuses to set a part of them, EFAULT, and user-mode Linux panics before its first program
 * runs. Here the part is written over what the process has, and all of it is set.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Too large for a kernel stack, which this is called on; there is one processor. What lies behind the part stays zero: registers
 * that no process here has used, as the header in the part says.
 */
static char whole[1 << 16];
static size_t whole_size;

static long set_whole(pid_t pid, const struct iovec *part) {
	struct iovec all = {.iov_base = whole, .iov_len = whole_size};
	memcpy(whole, part->iov_base, part->iov_len);
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}

/* How large the registers are, once that is known to matter. */
static void measure(pid_t pid, size_t part) {
	struct iovec all = {.iov_base = whole, .iov_len = sizeof(whole)};
	if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) == 0 && all.iov_len > part)
		whole_size = all.iov_len;
	memset(whole, 0, sizeof(whole));
}

long ptrace(enum __ptrace_request request, ...) {
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	/* The C library returns what is read at the address; the system call writes it to `data`. */
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		long value;
		if (syscall(SYS_ptrace, request, pid, address, &value) < 0)
			return -1;
		errno = 0;
		return value;
	}
	if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
		return syscall(SYS_ptrace, request, pid, address, data);
	const struct iovec *part = data;
	if (whole_size == 0) {
		long result = syscall(SYS_ptrace, request, pid, address, data);
		if (result >= 0 || errno != EFAULT)
			return result;
		measure(pid, part->iov_len);
		if (whole_size == 0) {
			errno = EFAULT;
			return -1;
		}
	}
	return set_whole(pid, part);
}
