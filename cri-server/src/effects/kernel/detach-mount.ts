import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const umount2 = libc.func("int umount2(const char *target, int flags)");
const mntDetach = 2;
const umountNofollow = 8;
const enoent = 2;
const einval = 22;

/** Detaches what is mounted at `path`, however often; nothing mounted and nothing there are success. */
export function detachMount(path: string): void {
  while (umount2(path, mntDetach | umountNofollow) === 0) {
    // Mounts at one place are stacked: the one below shows up next.
  }
  const errno = koffi.errno();
  if (errno !== einval && errno !== enoent) {
    throw new Error(`umount2 ${path}: errno ${errno}`);
  }
}
