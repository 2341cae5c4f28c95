import koffi from "koffi";
import type { Logger } from "../ports/logger.ts";

const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int domain, int type, int protocol)");
const sendto = libc.func(
  "intptr_t sendto(int fd, const uint8_t *buffer, size_t length, int flags, const uint8_t *address, uint32_t size)",
);
const close = libc.func("int close(int fd)");

const afUnix = 1;
const sockDgramCloexec = 2 | 0o2000000;

/** Tells systemd (Type=notify) about the server. Node has no datagram sockets on Unix paths. Without NOTIFY_SOCKET nothing happens. */
export function notifySystemd(state: "READY=1" | "STOPPING=1" | "WATCHDOG=1", log: Logger): void {
  const path = process.env.NOTIFY_SOCKET;
  if (path === undefined || path === "") {
    return;
  }
  // sockaddr_un; a leading @ stands for the NUL of an abstract address.
  const name = Buffer.from(path.startsWith("@") ? `\0${path.slice(1)}` : path);
  const address = Buffer.concat([Buffer.from(new Uint16Array([afUnix]).buffer), name]);
  const message = Buffer.from(state);
  const fd: number = socket(afUnix, sockDgramCloexec, 0);
  if (fd < 0 || sendto(fd, message, message.length, 0, address, address.length) < 0) {
    log.warn({ state, path, errno: koffi.errno() }, "systemd could not be notified");
  }
  if (fd >= 0) {
    close(fd);
  }
}

/** Shows systemd that the event loop turns, twice as often as it asks for (WatchdogSec=, sd_watchdog_enabled(3)). */
export function keepWatchdog(log: Logger): void {
  const { WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = process.env;
  if (!(Number(microseconds) > 0) || (pid !== undefined && Number(pid) !== process.pid)) {
    return;
  }
  setInterval(() => notifySystemd("WATCHDOG=1", log), Number(microseconds) / 2000).unref();
}
