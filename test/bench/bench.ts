import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { Berthd, mirroredRegistries } from "../lib/berthd.ts";
import { outcomeOf } from "../lib/command.ts";
import { cgroupVersion } from "../lib/kernel.ts";
import { removeLasting } from "../lib/lasting.ts";
import { startRegistry, stopRegistry, testImage } from "../lib/registry.ts";
import { type Measurement, report, stepTable } from "./bench-report.ts";
import { Containerd } from "./containerd.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    iters: { type: "string", default: "25" },
    suites: { type: "string", default: "lifecycle,exec" },
    "no-peer": { type: "boolean", default: false },
    "no-view": { type: "boolean", default: false },
  },
});

/** One run of the client; its output is one JSON object a line. */
async function cribench(name: string, socket: string): Promise<Measurement[]> {
  const image = testImage("e2e-test-images/busybox:1.29-2");
  const flags = [
    "--endpoint",
    `unix://${socket}`,
    "--name",
    name,
    "--run",
    values.suites,
    "--iters",
    values.iters,
  ];
  const child = spawn("cribench", [...flags, "--image", image], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`cribench against ${name} ended with ${code}`);
  return output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Measurement);
}

async function main(): Promise<void> {
  const registry = await startRegistry();
  try {
    await using berth = await Berthd.start({ flags: ["--log-level", "info"] });
    await using peer = values["no-peer"] ? undefined : await Containerd.start(mirroredRegistries);
    const measured: Measurement[] = [];
    for (let round = 1; round <= Number(values.rounds); round += 1) {
      console.error(`round ${round} of ${values.rounds}`);
      measured.push(...(await cribench("berth", berth.socket)));
      if (peer !== undefined) measured.push(...(await cribench("containerd", peer.socket)));
    }
    console.log(report(measured, cgroupVersion));
    // Calls log their steps at this level; writing that costs time, so it has a run of its own.
    await berth.stop();
    await berth.again({ flags: ["--log-level", "debug"] });
    await cribench("berth", berth.socket);
    console.log(stepTable(await readFile(berth.logPath, "utf8")));
  } finally {
    await stopRegistry(registry);
    await removeLasting();
    // cribench names a cgroup parent for each pod; the groups above are nobody's.
    await outcomeOf("sh", ["-c", "find /sys/fs/cgroup -depth -path '*/cribench*' -type d -exec rmdir {} +"]);
  }
}

await main();
