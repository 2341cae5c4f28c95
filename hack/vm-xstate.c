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

/* Too large for a kernel stack, which this is called on; there is one processor. */
static char whole[1 << 16];

static long set_part(pid_t pid, const struct iovec *part) {
	struct iovec all = {.iov_base = whole, .iov_len = sizeof(whole)};
	if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all) < 0)
		return -1;
	if (part->iov_len > all.iov_len) {
		errno = EFAULT;
		return -1;
	}
	memcpy(whole, part->iov_base, part->iov_len);
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
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
	long result = syscall(SYS_ptrace, request, pid, address, data);
	if (result < 0 && errno == EFAULT && request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
		return set_part(pid, data);
	return result;
}
