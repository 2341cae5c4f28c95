import { cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { outcomeOf, run } from "../lib/command.ts";

export interface Suite {
  readonly name: string;
  /** In the sources; its program has to run there. */
  readonly folder: string;
  readonly focus?: string;
}

export const suites: readonly Suite[] = [
  { name: "loopback", folder: "plugins/main/loopback" },
  // All others of its specs call the reference plugin's functions in their own process.
  { name: "portmap", folder: "plugins/meta/portmap", focus: "integration tests" },
  { name: "integration", folder: "integration" },
];

export const cache = process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth");

/** Sources and, as `<suite>.test`, the programs; kept for the next run. */
export const suitesFolder = join(cache, "cni-suites");

/** This suite builds the plugin that it tests; here it is told where that is. */
async function redirectLoopback(sources: string): Promise<void> {
  const file = join(sources, "plugins/main/loopback/loopback_suite_test.go");
  const text = await readFile(file, "utf8");
  const built = 'gexec.Build("github.com/containernetworking/plugins/plugins/main/loopback")';
  const changed = text.replace(built, 'os.Getenv("LOOPBACK"), nil');
  await writeFile(file, changed.replace("import (", 'import (\n\t"os"'));
}

/** Builds the suites of the version that test/cni/tools names, unless they are there. Needs Go and its module proxy. */
export async function buildSuites(): Promise<void> {
  const module = "github.com/containernetworking/plugins";
  const tools = join(import.meta.dirname, "tools");
  const versionFile = join(suitesFolder, "version");
  const version = (await run("go", ["list", "-m", "-f", "{{.Version}}", module], { cwd: tools })).trim();
  if ((await readFile(versionFile, "utf8").catch(() => "")) === version) return;
  const { stdout } = await outcomeOf("go", ["mod", "download", "-json", `${module}@${version}`], {
    cwd: tools,
  });
  const { Dir } = JSON.parse(stdout) as { readonly Dir: string };
  const fresh = `${suitesFolder}.new`;
  for (const folder of [fresh, suitesFolder]) await rm(folder, { recursive: true, force: true });
  await mkdir(cache, { recursive: true });
  await cp(Dir, fresh, { recursive: true });
  await run("chmod", ["-R", "u+w", fresh]);
  // The module archive has half of it only.
  await rm(join(fresh, "vendor"), { recursive: true, force: true });
  await redirectLoopback(fresh);
  const env = { ...process.env, GOFLAGS: "-mod=mod -buildvcs=false" };
  for (const { name, folder } of suites) {
    const command = ["test", "-c", "-o", join(fresh, `${name}.test`), "."];
    await run("go", command, { cwd: join(fresh, folder), env, timeout: 600_000 });
  }
  await writeFile(join(fresh, "version"), version);
  await rename(fresh, suitesFolder);
}
