import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { removeLasting } from "../lib/lasting.ts";
import { registryAddress, startRegistry, stopRegistry } from "../lib/registry.ts";
import { differences, type Expectations, type Spec, specsOf } from "./spec-report.ts";

const cache = process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth");

interface Arguments {
  /** Where the last run's JSON report is copied to. */
  readonly report: string | undefined;
  readonly runs: number;
  readonly critest: readonly string[];
}

function parseArguments(words: readonly string[]): Arguments {
  const rest = [...words];
  const take = (flag: string): string | undefined => {
    const at = rest.indexOf(flag);
    return at === -1 ? undefined : rest.splice(at, 2)[1];
  };
  return { report: take("--report"), runs: Number(take("--runs") ?? 1), critest: rest };
}

/**
 * One spec pulls test-image-digest by the digest of the published image, whose bytes are not to be had offline. The copy
 * of critest that is run names the digest of our image in its place; nothing else differs.
 */
async function adaptedCritest(folder: string): Promise<string> {
  const published = "9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf";
  const accept = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
  ];
  const manifest = `http://${registryAddress}/v2/k8s-staging-cri-tools/test-image-digest/manifests/latest`;
  const response = await fetch(manifest, { method: "HEAD", headers: { accept: accept.join(", ") } });
  const ours = response.headers.get("docker-content-digest")?.replace("sha256:", "");
  if (ours?.length !== published.length) throw new Error(`${manifest}: no digest (${response.status})`);
  const program = await readFile(join(cache, "bin/critest"));
  const at = program.indexOf(published);
  if (at === -1 || program.indexOf(published, at + 1) !== -1) {
    throw new Error("critest does not name the digest just once: is it another version?");
  }
  program.write(ours, at, "latin1");
  const path = join(folder, "critest");
  await writeFile(path, program);
  await chmod(path, 0o755);
  return path;
}

/** One run of the suite: its specs, and its exit code. */
async function runSuite(
  critest: string,
  server: Berthd,
  folder: string,
  flags: readonly string[],
): Promise<readonly Spec[]> {
  const report = join(folder, "report.json");
  const seed = Math.floor(Math.random() * 1e6);
  const words = [
    "--runtime-endpoint",
    `unix://${server.socket}`,
    "--ginkgo.no-color",
    `--ginkgo.json-report=${report}`,
  ];
  const log = createWriteStream(join(folder, "critest.log"));
  // The suite leaves temporary folders behind.
  const env = { ...process.env, TMPDIR: folder };
  const child = spawn(critest, [...words, `--ginkgo.seed=${seed}`, ...flags], { env, cwd: folder });
  child.stdout.pipe(log);
  child.stderr.pipe(log);
  // Without -parallel it prints a dot a spec; with it each process has its own, so only what has failed is shown.
  child.stdout.on("data", (chunk: Buffer) => {
    for (const line of chunk.toString().split("\n")) if (/\[FAIL\]/.test(line)) console.error(line.trim());
  });
  await once(child, "exit");
  return specsOf(await readFile(report, "utf8"));
}

async function main(): Promise<void> {
  const { report, runs, critest: flags } = parseArguments(process.argv.slice(2));
  const expectationsFile = join(import.meta.dirname, "expectations.json");
  const expectations = JSON.parse(await readFile(expectationsFile, "utf8")) as Expectations;
  const whole = !flags.some((flag) => /focus|skip/.test(flag));
  const folder = await mkdtemp("/tmp/critest-");
  const registry = await startRegistry();
  try {
    const critest = await adaptedCritest(folder);
    for (let round = 1; round <= runs; round += 1) {
      // The suite counts names of images: its store has to be empty at the start.
      await using server = await Berthd.start({
        flags: ["--log-level", process.env.BERTH_TEST_LOG ?? "info"],
      });
      const start = performance.now();
      const specs = await runSuite(critest, server, folder, flags);
      const count = (state: Spec["state"]): number => specs.filter((spec) => spec.state === state).length;
      const seconds = ((performance.now() - start) / 1000).toFixed(0);
      console.log(
        `critest run ${round}: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped in ${seconds} s`,
      );
      const found = differences(specs, expectations, whole);
      for (const line of found) console.log(line);
      if (found.length > 0 || specs.length === 0) {
        process.exitCode = 1;
        console.log(`log: ${cache}/critest.log, server: ${cache}/berthd.log`);
        await run("cp", [join(folder, "critest.log"), server.logPath, cache]);
      }
      if (report !== undefined) await run("cp", [join(folder, "report.json"), report]);
    }
  } finally {
    await stopRegistry(registry);
    await removeLasting();
    // HostIpc specs leave the segments that they made.
    await run("ipcrm", ["--all"]);
    await rm(folder, { recursive: true });
  }
}

await main();
