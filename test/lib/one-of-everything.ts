import { execFileSync } from "node:child_process";

/** Makes a tree with one of everything that a file system, and an image, can hold. */
export function makeOneOfEverything(top: string): void {
  const long = "long-".repeat(30);
  execFileSync(
    "bash",
    [
      "-euc",
      `mkdir -p "$1" && cd "$1"
       mkdir -p dir/sub "${long}/${long}" sticky private
       chmod 1777 sticky; chmod 700 private; chmod 2750 dir; chown 12:34 dir
       echo content >dir/file; chmod 640 dir/file; chown 1000:1001 dir/file
       cp /bin/true setuid; chown 5:6 setuid; chmod 6755 setuid
       : >empty; head -c 3000000 /dev/urandom >random; ln random hard; ln random dir/hard
       ln -s ../nowhere/at/all dir/dangling; ln -s "${long}/${long}" longlink; chown -h 77:88 longlink
       mkfifo fifo; mknod char c 1 3; mknod block b 7 200; chmod 600 block
       echo x >"${long}/${long}/file"
       printf 'a' >'name with spaces and ü'; printf 'b' >"$(printf 'new\\nline')"; printf c >"$(printf 'bytes\\377')"
       truncate -s 8M sparse; printf data | dd of=sparse bs=1 seek=4000000 conv=notrunc status=none
       truncate -s 1M hole
       python3 - <<'PY'
import os
os.setxattr("dir/file", "user.note", b"\\0\\1=\\n")
os.setxattr("dir", "user.directory", b"yes")
os.setxattr("random", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
for path, when in (("dir/file", 1234567890123456789), ("dir", 999999999000000001), ("empty", -5_500_000_000), ("sticky", 0)):
    os.utime(path, ns=(when, when))
PY`,
      "tree",
      top,
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
}
