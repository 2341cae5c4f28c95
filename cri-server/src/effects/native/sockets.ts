import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";

/**
 * What Node has no call for: sockets whose fd is known, fds in messages, bare pipes. Each call is a system call of a few
 * microseconds that can't wait. A wrong prototype is a crash, so they are declared here only.
 */
const libc = koffi.load("libc.so.6");
const cSocket = libc.func("int socket(int domain, int type, int protocol)");
const cConnect = libc.func("int connect(int fd, const uint8_t *address, unsigned int length)");
const cPipe2 = libc.func("int pipe2(_Out_ int *fds, int flags)");
const cFcntl = libc.func("int fcntl(int fd, int command, int argument)");
const cSendmsg = libc.func("intptr_t sendmsg(int fd, const uint8_t *message, int flags)");

const afUnix = 1;
const sockStream = 1;
const nonBlock = 0o4000;
const closeOnExec = 0o2000000;
const setFlags = 4;
const solSocket = 1;
const scmRights = 1;
const dontWait = 0x40;
const noSignal = 0x4000;
const eagain = 11;

const errnoNames = new Map(Object.entries(koffi.os.errno).map(([name, value]) => [value, name]));

/** The symbolic name of an errno, for messages. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

function refused(call: string): Error {
  const errno = koffi.errno();
  return Object.assign(new Error(`${call}: ${errnoName(errno)}`), { errno, code: errnoName(errno) });
}

/** Connects to a socket in a directory; by way of the directory's fd, as an address has room for 107 bytes only. */
export function connectIn(directory: string, name: string): number {
  const dir = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const path = Buffer.from(join("/proc/self/fd", String(dir), name));
    const address = Buffer.alloc(110);
    address.writeUInt16LE(afUnix);
    path.copy(address, 2);
    const fd = cSocket(afUnix, sockStream | nonBlock | closeOnExec, 0);
    if (fd < 0) throw refused("socket");
    if (cConnect(fd, address, address.length) < 0) {
      const error = refused(`connect ${join(directory, name)}`);
      closeSync(fd);
      throw error;
    }
    return fd;
  } finally {
    closeSync(dir);
  }
}

/** A pipe, of which one end is ours (non-blocking) and the other goes to a process, which gets it as it is used to. */
export function makePipe(ours: "read" | "write"): { readonly ours: number; readonly theirs: number } {
  const fds: [number, number] = [-1, -1];
  if (cPipe2(fds, closeOnExec) < 0) throw refused("pipe2");
  const pair = ours === "read" ? { ours: fds[0], theirs: fds[1] } : { ours: fds[1], theirs: fds[0] };
  cFcntl(pair.ours, setFlags, nonBlock);
  return pair;
}

/**
 * Sends bytes with fds on their first one. Gives how many bytes went, 0 when the socket has no room (then no fd went
 * either). The fds stay the caller's.
 */
export function sendWithFds(socket: number, bytes: Buffer, fds: readonly number[]): number {
  // struct iovec, struct cmsghdr with its fds, struct msghdr, of a 64-bit machine.
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(koffi.address(bytes), 0);
  vector.writeBigUInt64LE(BigInt(bytes.length), 8);
  const control = Buffer.alloc(16 + Math.ceil((fds.length * 4) / 8) * 8);
  control.writeBigUInt64LE(BigInt(16 + fds.length * 4), 0);
  control.writeInt32LE(solSocket, 8);
  control.writeInt32LE(scmRights, 12);
  for (const [index, fd] of fds.entries()) control.writeInt32LE(fd, 16 + index * 4);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(koffi.address(vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(koffi.address(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  const sent = cSendmsg(socket, message, dontWait | noSignal);
  if (sent >= 0) return sent;
  if (koffi.errno() === eagain) return 0;
  throw refused("sendmsg");
}
