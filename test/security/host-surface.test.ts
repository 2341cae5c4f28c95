import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NamespaceMode } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { outcomeOf } from "../lib/command.ts";
import { pushHostile } from "../lib/hostile-image.ts";
import { busybox, pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

/** Runs a shell command as a user of the machine who is nobody in particular. */
const asNobody = (command: string) =>
  outcomeOf("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", command]);

/** Every path below a folder. */
function below(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    return entry.isDirectory() ? [path, ...below(path)] : [path];
  });
}

describe("another user of the machine", () => {
  it("reaches nothing of images and containers by its name (CVE-2021-41103, CVE-2024-25621)", async () => {
    const program = Buffer.from("#!/bin/sh\nid -u\n");
    const image = await pushHostile({
      name: "set-user-id",
      entries: [
        { name: "root-shell", data: program, mode: 0o6755 },
        { name: "disk", type: "4", mode: 0o666, major: 7, minor: 0 },
      ],
    });
    await pull(server, image);
    await using pod = await TestPod.run(server);
    const container = await (await pod.create({ image: { image } })).start();
    await container.sh("cp /root-shell /mine && chmod 6755 /mine && mknod /node b 7 0 && chmod 666 /node");
    await container.sh("echo secret > /dev/shm/file && chmod 666 /dev/shm/file");
    const wanted = below(server.dir).filter((path) =>
      /\/(root-shell|mine|disk|node|etc\/passwd|shm\/file|hosts|resolv\.conf)$/.test(path),
    );
    for (const name of ["root-shell", "mine", "disk", "node", "file"]) {
      expect(wanted.map((path) => path.split("/").at(-1))).toContain(name);
    }
    for (const path of wanted) {
      expect((await asNobody(`stat ${path} || cat ${path}`)).code, path).not.toBe(0);
    }
  });

  it("cannot speak with the server, the launcher or a monitor", async () => {
    await using pod = await TestPod.run(server);
    const sockets = below(server.dir).filter((path) => statSync(path).isSocket());
    expect(sockets.map((path) => path.split("/").at(-1))).toContain("monitor.sock");
    for (const path of sockets) {
      expect(statSync(path).mode & 0o007, path).toBe(0);
      const connect = `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); exit(connect(S, sockaddr_un("${path}")) ? 0 : 9)'`;
      expect((await asNobody(connect)).code, path).toBe(9);
    }
    expect(await pod.ip()).not.toBe("");
  });
});

describe("a pod in a user namespace", () => {
  it.each([NamespaceMode.CONTAINER, NamespaceMode.POD])(
    "works although nobody but root can walk to its layers (PID mode %i)",
    async (pid) => {
      const range = [{ hostId: 1_000_000, containerId: 0, length: 65_536 }];
      const namespaceOptions = { pid, usernsOptions: { mode: NamespaceMode.POD, uids: range, gids: range } };
      await using pod = await TestPod.run(server, { linux: { securityContext: { namespaceOptions } } });
      const mounts = [
        { hostPath: join(server.dir, "logs"), containerPath: "/etc/dir", readonly: true },
        { image: { image: busybox }, imageSubPath: "etc", containerPath: "/image", readonly: true },
      ];
      const securityContext = { namespaceOptions, runAsUser: { value: 1000n } };
      const config = { mounts, workingDir: "/made/here", linux: { securityContext } };
      const container = await (await pod.create(config)).start();
      const look =
        "tr -s ' ' </proc/self/uid_map; id -u; pwd; wc -l </etc/hostname; grep -c root /image/passwd";
      expect(await container.sh(look)).toBe("0 1000000 65536\n1000\n/made/here\n1\n1");
    },
  );
});

describe("a container on the host's network", () => {
  it("finds no socket of ours without a path (CVE-2020-15257), and none that lets it in", async () => {
    const namespaceOptions = { network: NamespaceMode.NODE };
    await using pod = await TestPod.run(server, { linux: { securityContext: { namespaceOptions } } });
    const container = await (await pod.create({ linux: { securityContext: { namespaceOptions } } })).start();
    const names = (await container.sh("cat /proc/net/unix"))
      .split("\n")
      .map((line) => line.split(/\s+/).at(-1));
    expect(names.filter((name) => name?.startsWith("@") && /berth|monitor|cri/.test(name))).toEqual([]);
    expect(names.some((name) => name?.endsWith("berth.sock"))).toBe(true);
    expect(await container.sh(`ls ${server.socket} 2>/dev/null || echo none`)).toBe("none");
    expect(existsSync(server.socket)).toBe(true);
  });
});
