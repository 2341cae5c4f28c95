import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type Layer, LayerBuilder } from "./images-layer.ts";

const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`;
const group = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwww-data:x:33:\nnogroup:x:65534:\n";

/** Debian's busybox lacks these two applets; the conformance suite reads their standard output. */
const pgrep = `#!/bin/sh
# pgrep NAME: the ids of the processes whose name contains NAME
status=1
for directory in /proc/[0-9]*; do
  read -r name 2>/dev/null <"$directory/comm" || continue
  case $name in
    *"$1"*) [ "\${directory#/proc/}" = $$ ] || { echo "\${directory#/proc/}"; status=0; } ;;
  esac
done
exit $status
`;
const ipcs = `#!/bin/sh
# ipcs -m: this IPC namespace's System V shared memory
printf -- '------ Shared Memory Segments --------\\nshmid      perms      bytes\\n'
while read -r key id perms size rest; do
  [ "$key" = key ] || echo "$id      $perms      $size"
done </proc/sysvipc/shm
`;

/** Directories in which a package keeps shared libraries, as below its root. */
const libraryDirectories = [
  "lib/x86_64-linux-gnu",
  "usr/lib/x86_64-linux-gnu",
  "lib/aarch64-linux-gnu",
  "usr/lib/aarch64-linux-gnu",
  "lib64",
  "lib",
];

/** Unpacked Debian packages. */
export class Packages {
  readonly #root: string;
  constructor(root: string) {
    this.#root = root;
  }

  read(path: string): Buffer {
    return readFileSync(join(this.#root, path));
  }

  /** Adds a program, or a module of one, with the libraries that it loads. */
  install(layer: LayerBuilder, from: string, to: string, installed: Set<string>): void {
    layer.program(to, this.read(from));
    const waiting = needed(join(this.#root, from));
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const directory = libraryDirectories.find((one) => existsSync(join(this.#root, one, name ?? "")));
      if (directory === undefined) throw new Error(`no package has ${name}, which ${from} needs`);
      const target = name.startsWith("ld-linux-x86-64") ? `lib64/${name}` : `lib/${name}`;
      if (installed.has(target)) continue;
      installed.add(target);
      layer.program(target, this.read(join(directory, name)));
      waiting.push(...needed(join(this.#root, directory, name)));
    }
  }
}

function needed(path: string): string[] {
  const text = execFileSync("readelf", ["-dl", path], { encoding: "utf8" });
  const names = [...text.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1] ?? "");
  const loader = /interpreter: (.+)\]/.exec(text)?.[1];
  return loader === undefined ? names : [...names, basename(loader)];
}

/**
 * The shell and its friends, as the usual busybox image has them: applets as hard links, so that one path can be masked
 * alone.
 */
export function busyboxLayer(packages: Packages): Layer {
  const program = packages.read("bin/busybox");
  const layer = new LayerBuilder();
  for (const path of [
    "bin",
    "dev",
    "etc",
    "home",
    "proc",
    "sbin",
    "sys",
    "usr/bin",
    "usr/sbin",
    "var/spool/mail",
    "var/www",
  ]) {
    layer.directory(path);
  }
  layer
    .directory("root", { mode: 0o700 })
    .directory("tmp", { mode: 0o1777 })
    .directory("var/tmp", { mode: 0o1777 });
  layer.program("bin/busybox", program).program("bin/sh", withoutOwnLs(program));
  for (const applet of appletsOf(program)) {
    if (!["busybox", "sh", "pgrep", "ipcs"].includes(applet)) layer.hardlink(`bin/${applet}`, "bin/busybox");
  }
  layer.file("usr/bin/pgrep", pgrep, { mode: 0o755 }).file("usr/bin/ipcs", ipcs, { mode: 0o755 });
  layer
    .file("etc/passwd", passwd)
    .file("etc/group", group)
    .file("etc/shadow", "root:*:::::::\n", { mode: 0o640 });
  layer
    .file("etc/hosts", "127.0.0.1 localhost\n")
    .file("etc/hostname", "image\n")
    .file("etc/resolv.conf", "");
  return layer.build();
}

/**
 * Debian's shell runs its own applets whatever lies at /bin/NAME, so that a masked /bin/ls would still run. In the copy
 * that is /bin/sh the applet `ls` has another name of the same length and place in the order.
 */
function withoutOwnLs(program: Buffer): Buffer {
  const [old, replacement] = [Buffer.from("\0losetup\0ls\0lsmod\0"), Buffer.from("\0losetup\0lr\0lsmod\0")];
  const at = program.indexOf(old);
  if (at < 0 || program.indexOf(old, at + 1) >= 0)
    throw new Error("busybox: its table of applets is another one");
  const changed = Buffer.from(program);
  replacement.copy(changed, at);
  return changed;
}

/** The table that was found above, as a whole: names of applets, sorted, each with a NUL behind it. */
function appletsOf(program: Buffer): readonly string[] {
  const at = program.indexOf("\0losetup\0ls\0lsmod\0");
  const start = program.lastIndexOf("\0[\0", at) + 1;
  const end = program.indexOf("\0\0", at);
  return program.subarray(start, end).toString("latin1").split("\0");
}

export function nginxLayer(packages: Packages, port: number): Layer {
  const layer = new LayerBuilder();
  packages.install(layer, "usr/sbin/nginx", "usr/sbin/nginx", new Set());
  layer.file(
    "etc/nginx/nginx.conf",
    `user nginx;
worker_processes 1;
pid /var/run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  server {
    listen ${port};
    location / { root /usr/share/nginx/html; index index.html; }
  }
}
`,
  );
  layer.file(
    "usr/share/nginx/html/index.html",
    "<!DOCTYPE html>\n<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n",
  );
  layer.directory("run").symlink("var/run", "/run").directory("var/log/nginx").directory("var/lib/nginx");
  layer.file("etc/passwd", `${passwd}nginx:x:101:101:nginx:/nonexistent:/bin/false\n`);
  layer.file("etc/group", `${group}nginx:x:101:\n`);
  return layer.build();
}

export function httpdLayer(packages: Packages): Layer {
  const top = "usr/local/apache2";
  const layer = new LayerBuilder();
  const installed = new Set<string>();
  packages.install(layer, "usr/sbin/apache2", `${top}/bin/httpd`, installed);
  for (const name of ["mpm_event", "authz_core", "dir"]) {
    packages.install(
      layer,
      `usr/lib/apache2/modules/mod_${name}.so`,
      `${top}/modules/mod_${name}.so`,
      installed,
    );
  }
  // Without a ServerName it complains about that on standard error, where the suite looks for its name.
  layer.file(
    `${top}/conf/httpd.conf`,
    `ServerRoot /${top}
DefaultRuntimeDir logs
PidFile logs/httpd.pid
Listen 80
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule dir_module modules/mod_dir.so
User www-data
Group www-data
ErrorLog /proc/self/fd/2
LogLevel notice
DocumentRoot htdocs
DirectoryIndex index.html
`,
  );
  layer.file(`${top}/htdocs/index.html`, "<html><body>It works!</body></html>\n").directory(`${top}/logs`);
  return layer.build();
}

export function groupsLayer(): Layer {
  return new LayerBuilder()
    .file("etc/passwd", `${passwd}default-user:x:1000:1000::/home/default-user:/bin/sh\n`)
    .file("etc/group", `${group}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n`)
    .directory("home/default-user", { uid: 1000, gid: 1000 })
    .build();
}
