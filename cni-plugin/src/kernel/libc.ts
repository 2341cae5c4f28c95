import koffi from "koffi";

// All foreign function calls of the plugin. A wrong prototype is a crash, so they are here and nowhere else.
const libc = koffi.load("libc.so.6");
const setnsCall = libc.func("int setns(int fd, int type)");
const setsockoptCall = libc.func(
  "int setsockopt(int fd, int level, int name, const void *value, uint32_t size)",
);
const getsockoptCall = libc.func("int getsockopt(int fd, int level, int name, void *value, void *size)");
const getsocknameCall = libc.func("int getsockname(int fd, void *address, void *size)");
const sendCall = libc.func("intptr_t send(int fd, const void *data, size_t size, int flags)");
const flockCall = libc.func("int flock(int fd, int operation)");
const linkatCall = libc.func(
  "int linkat(int fromDir, const char *from, int toDir, const char *to, int flags)",
);
const fsetxattrCall = libc.func(
  "int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)",
);
const getxattrCall = libc.func(
  "intptr_t getxattr(const char *path, const char *name, void *value, size_t size)",
);

const CLONE_NEWNET = 0x40000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_DOMAIN = 39;
const SO_PROTOCOL = 38;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;

export const errnos = {
  ENOENT: 2,
  EINTR: 4,
  EAGAIN: 11,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EXFULL: 54,
  ENODATA: 61,
  EADDRNOTAVAIL: 99,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  ESRCH: 3,
} as const;

/** A system call that failed, with its errno. */
export class SyscallError extends Error {
  override readonly name = "SyscallError";
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(`${call}: errno ${errno}`);
    this.errno = errno;
  }
}

/** Runs the call and reads errno in the same breath: any other foreign call in between would replace it. */
function checked(name: string, call: () => number): number {
  const result = Number(call());
  if (result < 0) throw new SyscallError(name, koffi.errno());
  return result;
}

/**
 * Runs `work` with the calling thread in another network namespace. Only synchronous work is possible, and only on a
 * thread that comes back: if it can't, the process would do all else in the wrong namespace, and so must end.
 */
export function insideNetns<T>(target: number, home: number, work: () => T): T {
  checked("setns", () => setnsCall(target, CLONE_NEWNET));
  try {
    return work();
  } finally {
    if (setnsCall(home, CLONE_NEWNET) !== 0) process.abort();
  }
}

function intOption(fd: number, level: number, name: number): number {
  const value = Buffer.alloc(4);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(4);
  return getsockoptCall(fd, level, name, value, size) === 0 ? value.readInt32LE() : -1;
}

/** Whether the descriptor is the netlink socket of this protocol that is bound to this port. */
export function isNetlinkSocket(fd: number, protocol: number, port: number): boolean {
  if (intOption(fd, SOL_SOCKET, SO_DOMAIN) !== 16 || intOption(fd, SOL_SOCKET, SO_PROTOCOL) !== protocol) {
    return false;
  }
  const address = Buffer.alloc(12);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(address.length);
  return getsocknameCall(fd, address, size) === 0 && address.readUInt32LE(4) === port;
}

/**
 * No overrun errors (the socket's owner aborts the process on one; a lost reply is found by its timeout), and error
 * replies that say in words what the kernel disliked. Strict checks make dumps obey their filters.
 */
export function tameNetlinkSocket(fd: number, strict: boolean): void {
  const one = Buffer.alloc(4);
  one.writeInt32LE(1);
  const set = (name: number): void => {
    checked("setsockopt", () => setsockoptCall(fd, SOL_NETLINK, name, one, 4));
  };
  set(NETLINK_NO_ENOBUFS);
  set(NETLINK_EXT_ACK);
  if (strict) set(NETLINK_GET_STRICT_CHK);
}

/** send(2) on a thread of the pool: netlink does its work inside the call, and that can wait for others' work. */
export function sendAsync(fd: number, data: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    sendCall.async(fd, data, data.length, 0, (error: unknown, sent: unknown) => {
      const errno = koffi.errno();
      if (error !== null && error !== undefined) reject(error);
      else if (Number(sent) === data.length) resolve();
      else reject(new SyscallError("send", errno));
    });
  });
}

/** The process at the other end of a connected Unix socket, in this process's own view; 0 when not visible here. */
export function peerOf(fd: number): { readonly pid: number; readonly uid: number } {
  const value = Buffer.alloc(12);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(12);
  checked("getsockopt", () => getsockoptCall(fd, SOL_SOCKET, SO_PEERCRED, value, size));
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4) };
}

/** flock(2) without waiting; false when another open file has the lock. */
export function tryLock(fd: number, mode: "shared" | "exclusive"): boolean {
  const operation = (mode === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB;
  if (flockCall(fd, operation) === 0) return true;
  const errno = koffi.errno();
  if (errno === errnos.EAGAIN || errno === errnos.EINTR) return false;
  throw new SyscallError("flock", errno);
}

/** Gives a lock of flock(2) back. */
export function unlock(fd: number): void {
  checked("flock", () => flockCall(fd, LOCK_UN));
}

/** Gives the open, unnamed file a name; false when the name is taken. */
export function linkOpenFile(fd: number, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const done = (error: unknown, result: unknown): void => {
      const errno = koffi.errno();
      if (error !== null && error !== undefined) reject(error);
      else if (result === 0) resolve(true);
      else if (errno === errnos.EEXIST) resolve(false);
      else reject(new SyscallError(`link ${path}`, errno));
    };
    linkatCall.async(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW, done);
  });
}

/** Sets an extended attribute; false where the filesystem has none. */
export function trySetAttribute(fd: number, name: string, value: string): boolean {
  const bytes = Buffer.from(value);
  if (fsetxattrCall(fd, name, bytes, bytes.length, 0) === 0) return true;
  const errno = koffi.errno();
  if (errno === errnos.EOPNOTSUPP) return false;
  throw new SyscallError(`fsetxattr ${name}`, errno);
}

/** The attribute's value, or undefined when file, attribute or support is missing. */
export function readAttribute(path: string, name: string): string | undefined {
  const value = Buffer.alloc(4096);
  const size = Number(getxattrCall(path, name, value, value.length));
  return size < 0 ? undefined : value.toString("utf8", 0, size);
}
