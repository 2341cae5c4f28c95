import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { expectNothingLeft, footprint } from "../lib/footprint.ts";
import { pull, TestPod } from "../lib/pod.ts";
import { isLongRun } from "../lib/sizes.ts";

let server: Berthd;

beforeAll(async () => {
  // Debug lines are for people who look for a fault; here they would be most of what is written.
  server = await Berthd.start({ flags: ["--log-level", "info"] });
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

/** A value of /proc/PID/smaps_rollup or /proc/PID/status, in KiB. */
function kib(pid: number, file: string, key: string): number {
  const text = readFileSync(`/proc/${pid}/${file}`, "utf8");
  const value = new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
  if (value === undefined) throw new Error(`no ${key} in /proc/${pid}/${file}`);
  return Number(value);
}

async function cycle(): Promise<void> {
  await using pod = await TestPod.run(server);
  const container = await pod.start();
  expect((await container.exec("/bin/true")).exitCode).toBe(0);
  await container.stop();
  await container.remove();
  await pod.stop();
}

/** A long run shows what creeps. */
const total = isLongRun ? 1000 : 300;

async function cycles(count: number): Promise<void> {
  for (let done = 0; done < count; done += 1) await cycle();
}

describe(`${total} pods in a row`, () => {
  it(
    "leave no mount, namespace, link, address, cgroup, descriptor, process or file, and no memory",
    async () => {
      await cycles(100);
      const before = await footprint(server);
      const rss = kib(server.pid, "status", "VmRSS");
      await cycles(total - 100);
      await expectNothingLeft(server, before, 15_000);
      const grown = kib(server.pid, "status", "VmRSS") - rss;
      console.log(`server RSS after 100 cycles ${rss} KiB, after ${total} ${rss + grown} KiB`);
      expect(grown).toBeLessThan(12 << 10);
      expect(rss + grown).toBeLessThan(100 << 10);
    },
    total * 1000,
  );
});

describe("one pod with one container", () => {
  it("costs at most 400 KiB of private memory outside the server, in no process but its own and the monitor", async () => {
    const before = await footprint(server);
    await using pod = await TestPod.run(server);
    await pod.start({ command: ["/bin/sleep", "76543"] });
    const added = [...(await footprint(server))].filter(
      (line) => line.startsWith("process ") && !before.has(line),
    );
    const own = added.filter((line) => !line.includes("76543"));
    let total = 0;
    for (const line of own) {
      const pid = Number(line.split(" ")[1]);
      const size = kib(pid, "smaps_rollup", "Private_Clean") + kib(pid, "smaps_rollup", "Private_Dirty");
      console.log(`${size} KiB private: ${line}`);
      total += size;
    }
    expect(added.length - own.length).toBe(1);
    expect(total).toBeLessThanOrEqual(400);
  });
});
