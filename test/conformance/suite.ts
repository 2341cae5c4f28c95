import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { registryAddress } from "../lib/registry.ts";
import { type Spec, specsOf } from "./spec-report.ts";

/**
 * One spec pulls test-image-digest by the digest of the published image, whose bytes are not to be had offline. The copy
 * of critest that is run names the digest of our image in its place; nothing else differs.
 */
export async function adaptedCritest(original: string, folder: string): Promise<string> {
  const published = "9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf";
  const accept = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
  ];
  const manifest = `http://${registryAddress}/v2/k8s-staging-cri-tools/test-image-digest/manifests/latest`;
  const response = await fetch(manifest, { method: "HEAD", headers: { accept: accept.join(", ") } });
  const ours = response.headers.get("docker-content-digest")?.replace("sha256:", "");
  if (ours?.length !== published.length) throw new Error(`${manifest}: no digest (${response.status})`);
  const program = await readFile(original);
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

/** One call of the suite. */
export interface SuiteRun {
  readonly critest: string;
  readonly socket: string;
  /** Its working and temporary folder: the suite leaves things behind. */
  readonly folder: string;
  readonly seed: number;
  readonly flags: readonly string[];
}

/** Runs the suite; its output is appended to critest.log in the folder. */
export async function runSuite({ critest, socket, folder, seed, flags }: SuiteRun): Promise<readonly Spec[]> {
  const report = join(folder, "report.json");
  await writeFile(report, "[]");
  const words = ["--runtime-endpoint", `unix://${socket}`, "--ginkgo.no-color"];
  words.push(`--ginkgo.json-report=${report}`, `--ginkgo.seed=${seed}`, ...flags);
  const log = createWriteStream(join(folder, "critest.log"), { flags: "a" });
  // The AppArmor specs load their profiles by sudo. This runs as root, on machines that need not have it.
  await writeFile(join(folder, "sudo"), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
  const env = { ...process.env, TMPDIR: folder, PATH: `${folder}:${process.env.PATH}` };
  const child = spawn(critest, words, { env, cwd: folder });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  // Without -parallel it prints a dot a spec; with it each process has its own, so only what has failed is shown.
  child.stdout.on("data", (chunk: Buffer) => {
    for (const line of chunk.toString().split("\n")) if (/\[FAIL\]/.test(line)) console.error(line.trim());
  });
  await once(child, "close");
  log.end();
  return specsOf(await readFile(report, "utf8"));
}
