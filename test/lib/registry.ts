import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { glob, mkdir, readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";
import { eventually } from "./eventually.ts";

/** Where the tests' registry listens: loopback of the tests' own network namespace. */
export const registryAddress = "127.0.0.1:5000";

const root = join(import.meta.dirname, "../..");
const cache = process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth");

/** An image of the tests' registry, under a name that a mirror leads to it. */
export function testImage(name: string): string {
  return `registry.test/${name}`;
}

/** Names one version of the images: whatever makes them. */
async function imagesVersion(): Promise<string> {
  const hash = createHash("sha256");
  for await (const path of glob("hack/images*{,/**}", { cwd: root, exclude: ["**/*.test.ts"] })) {
    const text = await readFile(join(root, path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EISDIR") throw error;
    });
    if (text !== undefined) hash.update(path).update(text);
  }
  return hash.digest("hex");
}

async function pushImages(storage: string): Promise<void> {
  const stamp = join(storage, "pushed");
  const version = await imagesVersion();
  if (existsSync(stamp) && (await readFile(stamp, "utf8")) === version) return;
  await run(join(root, "hack/images"), ["--registry", registryAddress], { timeout: 600_000 });
  await writeFile(stamp, version);
}

/** Starts Debian's registry with the images of hack/images in it; what is stored outlives the run. */
export async function startRegistry(): Promise<ChildProcess> {
  const storage = join(cache, "registry");
  await mkdir(storage, { recursive: true });
  const config = join(storage, "config.yml");
  await writeFile(
    config,
    JSON.stringify({
      version: "0.1",
      log: { level: "error", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
      http: { addr: registryAddress },
    }),
  );
  const registry = spawn("docker-registry", ["serve", config], { stdio: "ignore" });
  try {
    await eventually(() => fetch(`http://${registryAddress}/v2/`), 20_000);
    await pushImages(storage);
  } catch (error) {
    registry.kill();
    throw error;
  }
  return registry;
}

/** Ends it and waits for that. */
export async function stopRegistry(registry: ChildProcess): Promise<void> {
  const ended = once(registry, "exit");
  registry.kill();
  await ended;
}
