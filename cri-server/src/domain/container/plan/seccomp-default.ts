import type { ArgumentTest, SeccompAction } from "../../../ports/seccomp.ts";
import type { Condition, ProfileEntry, SeccompProfile } from "./seccomp-profile.ts";
import { always } from "./seccomp-profile.ts";

/**
 * RuntimeDefault: what a container gets that asks for no profile of its own. In effect it is what the other CRI runtimes
 * give (so that workloads move over unchanged): an allow-list, with more for a container that has the matching capability,
 * EPERM for the rest, ENOSYS for what programs probe for.
 */
const allow: SeccompAction = { kind: "allow" };
const enosys: SeccompAction = { kind: "errno", value: 38 };

const files = `
  access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
  fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat
  fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown lchown32
  link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pread64
  preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile
  sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64
  umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev cachestat listmount statmount
  file_getattr file_setattr`;

const attributes = `
  fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr
  lsetxattr removexattr removexattrat setxattr setxattrat`;

const waiting = `
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
  fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
  io_pgetevents_time64 io_setup io_submit _newselect pause pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select
  signalfd signalfd4`;

const memory = `
  brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap
  mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages`;

const processes = `
  alarm capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid getegid32 geteuid
  geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid
  getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule
  landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq rt_sigaction
  rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
  rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
  sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
  sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32
  setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
  setreuid setreuid32 setrlimit setsid setuid setuid32 sigaltstack sigprocmask sigreturn sysinfo tgkill tkill ugetrlimit uname
  uretprobe vfork wait4 waitid waitpid`;

const synchronization = `
  futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify mq_open mq_timedreceive
  mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
  semtimedop_time64 shmat shmctl shmdt shmget`;

const network = `
  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send
  sendmmsg sendmsg sendto setsockopt shutdown socketpair`;

/** Reading and, through adjtimex, only showing the clock: changing it takes CAP_SYS_TIME, which the kernel checks itself. */
const time = `
  adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
  clock_nanosleep_time64 getitimer getrandom gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
  timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
  timerfd_settime64 times`;

/** More for a container that has the capability. */
const byCapability: Readonly<Record<string, string>> = {
  CAP_DAC_READ_SEARCH: "open_by_handle_at",
  CAP_SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
    lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open quotactl
    quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`,
  CAP_SYS_BOOT: "reboot",
  CAP_SYS_CHROOT: "chroot",
  CAP_SYS_MODULE: "delete_module finit_module init_module",
  CAP_SYS_PACCT: "acct",
  CAP_SYS_PTRACE: "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
  CAP_SYS_RAWIO: "ioperm iopl",
  CAP_SYS_TIME: "clock_settime clock_settime64 settimeofday stime",
  CAP_SYS_TTY_CONFIG: "vhangup",
  CAP_SYS_NICE: "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
  CAP_SYSLOG: "syslog",
  CAP_BPF: "bpf",
  CAP_PERFMON: "perf_event_open",
};

/** CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: a new namespace would open kernel code that nothing else needs. */
const cloneNamespaces = 0x7e02_0000n;

/**
 * AF_ALG (in-kernel crypto, CVE-2026-31431) and AF_VSOCK (to the hypervisor) are left out, and so is all beyond AF_MCTP, the
 * last one there is. "Greater than 40" won't do for the rest: a filter compares 64 bits of what the kernel cuts to 32, and
 * 2^32 + AF_ALG is greater.
 */
const socketFamilies: readonly ArgumentTest[] = [
  test("LT", 38n),
  ...[39n, 41n, 42n, 43n, 44n, 45n].map((family) => test("EQ", family)),
];

/** PER_LINUX, PER_LINUX32, UNAME26, both, and "tell me". */
const personalities: readonly bigint[] = [0x0n, 0x8n, 0x2_0000n, 0x2_0008n, 0xffff_ffffn];

const noAdmin: Condition = { ...always, capabilities: ["CAP_SYS_ADMIN"] };

/** The built-in RuntimeDefault profile. */
export const runtimeDefaultProfile: SeccompProfile = {
  defaultAction: { kind: "errno", value: 1 },
  // Not x32: nothing uses it, and it doubles what of the kernel can be reached.
  architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_ARM"],
  entries: [
    entry([files, attributes, waiting, memory, processes, synchronization, network, time].join(" ")),
    // Since 4.8 ptrace can't be used to get around a filter any more.
    entry("process_vm_readv process_vm_writev ptrace", {
      includes: { ...always, minKernel: { major: 4, minor: 8 } },
    }),
    ...socketFamilies.map((arg) => entry("socket", { args: [arg] })),
    ...personalities.map((value) => entry("personality", { args: [test("EQ", value)] })),
    entry("arch_prctl modify_ldt", { includes: { ...always, arches: ["amd64"] } }),
    entry("arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2", {
      includes: { ...always, arches: ["arm64"] },
    }),
    ...Object.entries(byCapability).map(([capability, names]) =>
      entry(names, { includes: { ...always, capabilities: [capability] } }),
    ),
    entry("clone", {
      args: [{ index: 0, op: "MASKED_EQ", value: cloneNamespaces, valueTwo: 0n }],
      excludes: noAdmin,
    }),
    // clone3's flags are in memory, out of a filter's sight; ENOSYS makes libc fall back to clone.
    entry("clone3", { action: enosys, excludes: noAdmin }),
    // The 32-bit multiplexer hides the address family from the rule above; ENOSYS makes libc use socket.
    entry("socketcall", { action: enosys }),
  ],
};

function test(op: ArgumentTest["op"], value: bigint): ArgumentTest {
  return { index: 0, op, value, valueTwo: 0n };
}

function entry(names: string, extra: Partial<ProfileEntry> = {}): ProfileEntry {
  return {
    names: names.split(/\s+/).filter((name) => name !== ""),
    action: allow,
    args: [],
    includes: always,
    excludes: always,
    ...extra,
  };
}
