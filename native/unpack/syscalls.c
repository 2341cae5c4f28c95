/*
 * What a worker may ask of the kernel once it is confined. Should a layer ever take over the code that reads it, it can do to the
 * layer's own directory what the archive could do anyway, and nothing else: no socket, no program, no mount, no other process.
 */
#include "unpack.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
/* x32's numbers have this bit, and would pass for others otherwise. */
#define FIRST_FOREIGN 0x40000000
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#define FIRST_FOREIGN 0x7fffffff
#endif

#if defined(OWN_ARCH) && !defined(__SANITIZE_ADDRESS__)

#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_FOREIGN, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	/* the most frequent first */
	ALLOW(SYS_write), ALLOW(SYS_openat), ALLOW(SYS_close), ALLOW(SYS_utimensat), ALLOW(SYS_pread64), ALLOW(SYS_recvfrom),
	ALLOW(SYS_openat2), ALLOW(SYS_mkdirat), ALLOW(SYS_symlinkat), ALLOW(SYS_linkat), ALLOW(SYS_mknodat), ALLOW(SYS_unlinkat),
	ALLOW(SYS_fchown), ALLOW(SYS_fchownat), ALLOW(SYS_fchmod), ALLOW(SYS_fsetxattr), ALLOW(SYS_newfstatat), ALLOW(SYS_fstat),
	ALLOW(SYS_lseek), ALLOW(SYS_ftruncate), ALLOW(SYS_getdents64), ALLOW(SYS_fcntl), ALLOW(SYS_read), ALLOW(SYS_brk),
	ALLOW(SYS_mmap), ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_madvise), ALLOW(SYS_futex),
	/* the last words */
	ALLOW(SYS_shutdown), ALLOW(SYS_setsockopt), ALLOW(SYS_exit_group), ALLOW(SYS_exit), ALLOW(SYS_rt_sigreturn),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
};

void confine_syscalls(void) {
	const struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
		fail("confine", errno, "seccomp");
}
#else
void confine_syscalls(void) {
}
#endif
