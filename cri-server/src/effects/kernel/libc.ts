import koffi from "koffi";

/**
 * Every call into libc that the kernel effects make. A wrong prototype is a crash, so they are declared here only, and
 * errno is read in the same function as the call: any JavaScript in between may change it.
 */
const libc = koffi.load("libc.so.6");

const cOpen = libc.func("int open(const char *path, int flags, int mode)");
const cRead = libc.func("intptr_t read(int fd, _Out_ uint8_t *buffer, size_t length)");
const cWrite = libc.func("intptr_t write(int fd, const uint8_t *buffer, size_t length)");
const cClose = libc.func("int close(int fd)");
const cMemfd = libc.func("int memfd_create(const char *name, unsigned int flags)");
const cPread = libc.func("intptr_t pread(int fd, _Out_ uint8_t *buffer, size_t length, int64_t offset)");
const cMallocTrim = libc.func("int malloc_trim(size_t pad)");
const cSyscall = libc.func("long syscall(long number, long a, void *b, long c, long d, long e)");

const ocloexec = 0o2000000;
const owronly = 1;
const mfdCloexec = 1;

/** A failed system call, by its errno name where that matters to a caller. */
export class SystemCallError extends Error {
  override readonly name = "SystemCallError";
  readonly errno: number;
  readonly code: string;
  constructor(call: string, subject: string, errno: number) {
    const code = errnoNames.get(errno) ?? `errno ${errno}`;
    super(`${call} ${subject}: ${code}`);
    this.errno = errno;
    this.code = code;
  }
}

const errnoNames: ReadonlyMap<number, string> = new Map(
  Object.entries(koffi.os.errno).map(([name, value]) => [value, name]),
);

function check(result: number, call: string, subject: string): number {
  if (result >= 0) return result;
  throw new SystemCallError(call, subject, koffi.errno());
}

const scratch = Buffer.allocUnsafe(64 * 1024);

/**
 * Reads a small kernel file (cgroupfs, procfs) at once: three system calls of about a microsecond, where a Node promise costs
 * several trips to its thread pool. Not for files of a disk, and nothing above 64 KiB.
 */
export function readKernelFile(path: string): string {
  const fd = check(cOpen(path, ocloexec, 0), "open", path);
  const length = cRead(fd, scratch, scratch.length);
  const errno = length < 0 ? koffi.errno() : 0;
  cClose(fd);
  if (length < 0) throw new SystemCallError("read", path, errno);
  return scratch.toString("latin1", 0, length);
}

/** As readKernelFile, but undefined when the file is missing or its controller can't tell (ENOENT, EOPNOTSUPP, ENODEV). */
export function tryReadKernelFile(path: string): string | undefined {
  const fd = cOpen(path, ocloexec, 0);
  if (fd < 0) {
    const errno = koffi.errno();
    if (errno === 2 || errno === 20 || errno === 19) return undefined;
    throw new SystemCallError("open", path, errno);
  }
  const length = cRead(fd, scratch, scratch.length);
  const errno = length < 0 ? koffi.errno() : 0;
  cClose(fd);
  if (length >= 0) return scratch.toString("latin1", 0, length);
  if (errno === 95 || errno === 19) return undefined;
  throw new SystemCallError("read", path, errno);
}

/** Writes a value to a kernel file in one write(2), as cgroupfs needs it. */
export function writeKernelFile(path: string, value: string): void {
  const fd = check(cOpen(path, ocloexec | owronly, 0), "open", path);
  const bytes = Buffer.from(value, "latin1");
  const written = cWrite(fd, bytes, bytes.length);
  const errno = written < 0 ? koffi.errno() : 0;
  cClose(fd);
  if (written < 0) throw new SystemCallError("write", `${path} ${JSON.stringify(value)}`, errno);
}

export function memfd(name: string): number {
  return check(cMemfd(name, mfdCloexec), "memfd_create", name);
}

/** The whole content of a memory file. */
export function readMemfd(fd: number, maxBytes: number): Uint8Array {
  const buffer = Buffer.alloc(maxBytes);
  const length = check(cPread(fd, buffer, maxBytes, 0), "pread", "memfd");
  return new Uint8Array(buffer.subarray(0, length));
}

export function closeFd(fd: number): void {
  check(cClose(fd), "close", String(fd));
}

const cSetns = libc.func("int setns(int fd, int type)");
const cloneNewNet = 0x40000000;

/** Moves this thread into a network namespace. Only ever there and back within one synchronous piece of code. */
export function enterNetworkNamespace(fd: number, what: string): void {
  check(cSetns(fd, cloneNewNet), "setns", what);
}

/** Whether the kernel knows this system call; called with arguments that it has to refuse. */
export function systemCallExists(number: number): boolean {
  const enosys = 38;
  return cSyscall(number, -1, null, 0, 0, 0) >= 0 || koffi.errno() !== enosys;
}

const cBpf = libc.func(
  "long syscall(long number, int command, _Inout_ uint8_t *attributes, unsigned int size)",
);
const bpfNumber = process.arch === "arm64" ? 280 : 321;

/** bpf(2). */
export function bpf(command: number, attributes: Uint8Array, what: string): number {
  return check(cBpf(bpfNumber, command, attributes, attributes.length), "bpf", what);
}

/** The address of a buffer, for structures that point to one. The buffer has to outlive the call. */
export function addressOf(buffer: Uint8Array): bigint {
  return koffi.address(buffer);
}

const cIoctl = libc.func("int ioctl(int fd, unsigned long request, _Inout_ uint8_t *argument)");
const cQuotactlFd = libc.func(
  "long syscall(long number, unsigned int fd, unsigned int command, unsigned int id, _Inout_ uint8_t *argument)",
);
/** The same on every architecture. */
const quotactlFdNumber = 443;

/**
 * In the thread pool, as these may wait for a disk. errno belongs to a thread that is not ours then: a call that failed is
 * made again here to learn why, so it has to be one that may be repeated.
 */
async function inPool(
  func: ReturnType<typeof libc.func>,
  args: readonly unknown[],
  call: string,
  subject: string,
): Promise<number> {
  const result = await new Promise<number>((resolve, reject) => {
    func.async(...args, (error: unknown, value: number) => {
      if (error) reject(error);
      else resolve(value);
    });
  });
  return result >= 0 ? result : check(func(...args), call, subject);
}

/** ioctl(2) with a structure. */
export async function ioctl(fd: number, request: number, argument: Uint8Array, what: string): Promise<void> {
  await inPool(cIoctl, [fd, request, argument], "ioctl", what);
}

/** quotactl_fd(2), kernel 5.14. `fd` is anything on the file system. */
export async function quotactl(
  fd: number,
  command: number,
  id: number,
  argument: Uint8Array,
  what: string,
): Promise<void> {
  await inPool(cQuotactlFd, [quotactlFdNumber, fd, command, id, argument], "quotactl_fd", what);
}

/** Returns every whole page that the C library's heap does not use, wherever it lies; 0.5 to 2 ms. malloc_trim(3). */
export function trimHeap(): void {
  cMallocTrim(0);
}
