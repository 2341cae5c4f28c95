import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { attacker } from "../lib/attacker.ts";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, TestPod } from "../lib/pod.ts";

// A container with a hostPath of /var/log may change whatever lies in a pod's log directory, and the monitor writes there
// as the host's root what the container says.

let server: Berthd;
let program: string;
let outside: string;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
  program = (await attacker(server)).hostPath;
  outside = join(server.dir, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "file"), "the host's");
});

afterEach(() => {
  expect(readdirSync(outside)).toEqual(["file"]);
  expect(readFileSync(join(outside, "file"), "utf8")).toBe("the host's");
});

afterAll(() => server[Symbol.asyncDispose]());

const logDirectory = (pod: TestPod): string => pod.config.logDirectory ?? "";

describe("a pod's log directory", () => {
  it("in which the container's part is a link gets no log through it (CVE-2025-0750)", async () => {
    await using pod = await TestPod.run(server);
    symlinkSync(outside, join(logDirectory(pod), "name"));
    for (const logPath of ["name/0.log", "name/deep/0.log", "name/../file"]) {
      await expect(pod.create({ logPath }), logPath).rejects.toThrow();
    }
  });

  it("that is itself a link gets no log", async () => {
    await using pod = await TestPod.run(server);
    rmSync(logDirectory(pod), { recursive: true });
    symlinkSync(outside, logDirectory(pod));
    await expect(pod.create({ logPath: "name/0.log" })).rejects.toThrow("ELOOP");
    rmSync(logDirectory(pod));
  });

  it("holds regular files, or nothing is written", async () => {
    await using pod = await TestPod.run(server);
    const at = (name: string) => join(logDirectory(pod), name);
    symlinkSync(join(outside, "file"), at("link"));
    symlinkSync(join(outside, "new"), at("new"));
    await run("mkfifo", [at("fifo")]);
    await run("mknod", [at("zero"), "c", "1", "5"]);
    await run("mknod", [at("disk"), "b", "7", "0"]);
    mkdirSync(at("directory"));
    const reader = spawn("cat", [at("fifo")], { stdio: "ignore" });
    for (const logPath of ["link", "new", "fifo", "zero", "disk", "directory"]) {
      await expect(pod.create({ logPath }), logPath).rejects.toThrow("log");
    }
    reader.kill();
    await once(reader, "exit");
  });

  it("is made with all that is missing of it", async () => {
    await using pod = await TestPod.run(server);
    rmSync(logDirectory(pod), { recursive: true });
    const container = await pod.create({ logPath: "a/b/c/0.log", command: ["/bin/sh", "-c", "echo made"] });
    await container.start();
    await container.exited();
    expect(readFileSync(join(logDirectory(pod), "a/b/c/0.log"), "utf8")).toMatch(/ stdout F made\n$/);
  });
});

describe("a log that is reopened", () => {
  it("goes on in the old file where there is a link now", async () => {
    await using pod = await TestPod.run(server);
    const script = "while sleep 0.1; do echo line; done";
    const container = await (
      await pod.create({ logPath: "n/0.log", command: ["/bin/sh", "-c", script] })
    ).start();
    const [dir, away] = [join(logDirectory(pod), "n"), join(logDirectory(pod), "away")];
    renameSync(dir, away);
    symlinkSync(outside, dir);
    await expect(server.runtime.reopenContainerLog({ containerId: container.id })).rejects.toThrow("ELOOP");
    const before = readFileSync(join(away, "0.log"), "utf8").length;
    await eventually(() => {
      if (readFileSync(join(away, "0.log"), "utf8").length <= before) throw new Error("no line came");
    });
  });

  it("never follows one, however fast it is exchanged", async () => {
    await using pod = await TestPod.run(server);
    const container = await (await pod.create({ logPath: "n/0.log" })).start();
    const [dir, link] = [join(logDirectory(pod), "n"), join(logDirectory(pod), "link")];
    symlinkSync(outside, link);
    const swap = spawn(program, ["swap", dir, link, "5"], { stdio: "ignore" });
    const ended = once(swap, "exit");
    let refused = 0;
    for (let round = 0; round < 300; round += 1) {
      await server.runtime.reopenContainerLog({ containerId: container.id }).catch(() => {
        refused += 1;
      });
    }
    await ended;
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(300);
  });
});
