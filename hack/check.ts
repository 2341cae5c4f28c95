import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cycles, layerViolations } from "./rules/layers.ts";
import { parseC, sizeViolations } from "./rules/sizes.ts";
import { parseSource } from "./rules/source-file.ts";

const root = dirname(import.meta.dirname);

function output(file: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`${file} ${args.join(" ")}: ${error?.message ?? stderr}`);
  return stdout;
}

/** Files of the tree and new ones that are not ignored. */
function sources(pattern: RegExp): string[] {
  const listed = output("git", ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
  const deleted = new Set(output("git", ["ls-files", "--deleted"]).split("\n"));
  return listed.split("\n").filter((path) => pattern.test(path) && !deleted.has(path));
}

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** Generated files have to be what their generators make. */
function generatedViolations(): string[] {
  const found: string[] = [];
  const temporary = mkdtempSync(join(tmpdir(), "berth-check-"));
  try {
    output("hack/gen-proto", [temporary]);
    const fresh = readFileSync(join(temporary, "api.ts"), "utf8");
    if (fresh !== read("proto/gen/api.ts"))
      found.push("proto/gen/api.ts: not what proto/api.proto says: run hack/gen-proto");
  } finally {
    rmSync(temporary, { recursive: true });
  }
  const ops = spawnSync(process.execPath, ["hack/gen-ops.ts", "--check"], { cwd: root, encoding: "utf8" });
  if (ops.status !== 0) found.push(ops.stderr.trim());
  return found;
}

function main(): void {
  const generated = /^proto\/gen\/|\.gen\.(ts|h)$/;
  const files = sources(/^(cri-server|cni-plugin|proto|hack|test)\/.*\.ts$/)
    .filter((path) => !generated.test(path))
    .map((path) => parseSource(path, read(path)));
  const native = sources(/^native\/.*\.[ch]$/)
    .filter((path) => !generated.test(path))
    .map((path) => parseC(path, read(path)));
  const exceptions = JSON.parse(read("hack/rules/exceptions.json")) as Record<string, string>;
  const found = [
    ...layerViolations(files),
    ...cycles(files),
    ...sizeViolations([...files, ...native], exceptions),
    ...generatedViolations(),
  ];
  for (const line of found) console.error(line);
  console.error(`check: ${files.length} TypeScript and ${native.length} C files, ${found.length} violations`);
  process.exitCode = found.length === 0 ? 0 : 1;
}

main();
