import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";
import { build } from "esbuild";

const root = dirname(import.meta.dirname);
const dist = join(root, "dist");

interface Program {
  readonly name: string;
  readonly entry: string;
  /** Flags of Node, where the program has a launcher of its own. */
  readonly nodeFlags?: readonly string[];
  /** What the launcher sets where the environment does not. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly commonJs?: boolean;
  /** Written as a function of `require` and `__dirname`, beside which lies what V8 compiled of it. */
  readonly cached?: boolean;
}

/**
 * The server trades a little speed of its largest answers for a third of its memory; the lists that it would slow
 * down are sent from cached bytes. A short-lived program keeps Node's defaults.
 */
const programs: readonly Program[] = [
  {
    name: "berthd",
    entry: "cri-server/src/main.ts",
    // Without the optimizing compiler, and with one worker thread: 12 MiB less after 1,000 pods, and no slower. The compiler
    // below it doesn't inline: all that serves a pod gets hot at the same moment, and compiling it took 8 MiB at once.
    // The heap may grow by 60% before it is marked: else the kubelet's polling of 110 pods has it marked every four seconds,
    // a quarter of the server's idle time. Nothing may hold up the loop for 10 ms, so the first collection has to wait until
    // there is something to collect, and each moves 1 MiB at most together (6 were 15 ms beside the processes that unpack an
    // image). None comes only because there is time: the server gives back what bursts leave by itself (free-memory.ts).
    // And code stays compiled, at 2 MiB, however long it hasn't run: compiling what the next pull needs took 10 to 20 ms.
    nodeFlags: [
      "--heap-growing-percent=60",
      "--optimize-for-size",
      "--max-semi-space-size=1",
      "--v8-pool-size=1",
      "--no-opt",
      "--no-maglev-inlining",
      "--no-flush-bytecode",
      "--flush-baseline-code",
      "--no-memory-reducer",
      "--initial-old-space-size=24",
      "--compaction-max-evacuated-bytes-mb-for-optimize-memory=1",
      "--compaction-max-evacuated-bytes-mb-for-reduce-memory=1",
      "--disable-warning=ExperimentalWarning",
    ],
    // One heap of the C library for all threads, of which the few that do file work would each keep some: 2.5 MiB.
    environment: { MALLOC_ARENA_MAX: "1" },
  },
  { name: "berth", entry: "cri-server/src/cli.ts", nodeFlags: [] },
  // Runs for one call: Node links a CommonJS file 10 ms sooner, and the first loads the second by V8's cache.
  { name: "cni", entry: "cni-plugin/src/load.ts", commonJs: true },
  { name: "cni-program", entry: "cni-plugin/src/main.ts", commonJs: true, cached: true },
];

/** Writes a file when its content is another one; a running program keeps the old file. */
function replace(path: string, content: string, mode: number): boolean {
  if (existsSync(path) && readFileSync(path, "utf8") === content) return false;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, content);
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
  return true;
}

const addons: Readonly<Record<string, string>> = {
  koffi:
    'module.exports = require("@koromix/koffi-linux-" + process.arch + "/linux_" + process.arch + "/koffi.node");',
  "node-gyp-build":
    'module.exports = () => require("netlink/prebuilds/linux-" + process.arch + "/node.napi.node");',
};

/** Loads the addons themselves: what their packages do to find them takes a lone call 7 ms. */
const directAddons: Plugin = {
  name: "direct-addons",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^(koffi|node-gyp-build)$/ }, ({ path }) => ({ path, namespace: "addon" }));
    onLoad({ filter: /.*/, namespace: "addon" }, ({ path }) => ({
      contents: addons[path] ?? "",
      loader: "js",
    }));
  },
};

/**
 * Imports node:http by require(). An ES module's import reads every export, and two of them load Node's web client (undici):
 * 16 MiB and 45 ms.
 */
const plainHttp: Plugin = {
  name: "plain-http",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^node:http$/ }, ({ path, kind }) =>
      kind === "import-statement" ? { path, namespace: "required" } : { path, external: true },
    );
    onLoad({ filter: /.*/, namespace: "required" }, ({ path }) => ({
      contents: `module.exports = require("${path}");`,
      loader: "js",
    }));
  },
};

function fileOf(program: Program): string {
  return `${program.name}.${program.commonJs && !program.cached ? "cjs" : "js"}`;
}

/** What goes around the bundle. */
function wrapping(program: Program): { readonly banner?: { js: string }; readonly footer?: { js: string } } {
  if (program.cached) return { banner: { js: "(function (require, __dirname) {" }, footer: { js: "})" } };
  if (program.commonJs) return {};
  // grpc-js and pino are CommonJS and call require() for Node's own modules.
  const require = "const require = createRequire(import.meta.url);";
  return { banner: { js: `import { createRequire } from "node:module";\n${require}` } };
}

async function bundle(program: Program): Promise<boolean> {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [program.entry],
    bundle: true,
    write: false,
    platform: "node",
    format: program.commonJs ? "cjs" : "esm",
    target: "node26",
    // Each loads a prebuilt addon that lies beside its JavaScript.
    external: program.commonJs ? [] : ["koffi", "netlink", "bufferutil"],
    plugins: program.commonJs ? [directAddons] : [plainHttp],
    ...wrapping(program),
    logLevel: "warning",
  });
  const output = result.outputFiles[0];
  if (output === undefined) throw new Error(`esbuild made nothing of ${program.entry}`);
  return replace(join(dist, fileOf(program)), output.text, 0o644);
}

const node = join(root, "node_modules/.bin/node");
/** All functions, for the first call needs most of them; the flags that V8 compares are the usual ones again. */
const compileAll = `
  const [file, cache] = process.argv.slice(1);
  const { readFileSync, writeFileSync } = require("node:fs");
  require("node:v8").setFlagsFromString("--no-lazy");
  const script = new (require("node:vm").Script)(readFileSync(file, "utf8"), { filename: file });
  require("node:v8").setFlagsFromString("--lazy");
  writeFileSync(cache, script.createCachedData());`;

/** What V8 compiles of a program, for the Node that runs it. */
function cache(program: Program): boolean {
  if (!program.cached) return false;
  const file = join(dist, fileOf(program));
  const to = join(dist, `${program.name}.cache`);
  const newest = Math.max(statSync(file).mtimeMs, statSync(node).mtimeMs);
  if (existsSync(to) && statSync(to).mtimeMs > newest) return false;
  const result = spawnSync(node, ["-e", compileAll, file, `${to}.new`], { stdio: "inherit" });
  if (result.status !== 0) throw new Error(`${node} can't compile ${file}`);
  renameSync(`${to}.new`, to);
  return true;
}

function launcher(program: Program): boolean {
  if (program.nodeFlags === undefined) return false;
  const flags = program.nodeFlags.map((flag) => ` ${flag}`).join("");
  const settings = Object.entries(program.environment ?? {}).map(
    ([key, value]) => `export ${key}="\${${key}:-${value}}"\n`,
  );
  return replace(
    join(dist, program.name),
    `#!/bin/sh
# Runs ${program.name}.js with the Node that was installed with it.
here=$(dirname "$(readlink -f "$0")")
${settings.join("")}for node in "$here/node" "$here/../node_modules/.bin/node"; do
  [ -x "$node" ] && exec "$node"${flags} "$here/${program.name}.js" "$@"
done
echo "${program.name}: no node in $here or in $here/../node_modules/.bin" >&2
exit 127
`,
    0o755,
  );
}

function native(): void {
  const result = spawnSync("make", ["--no-print-directory", "-s", "-C", join(root, "native")], {
    stdio: "inherit",
  });
  if (result.status !== 0) {
    console.error(`build: make -C native ended with ${result.status ?? result.signal}`);
    process.exitCode = 1;
  }
}

async function main(): Promise<void> {
  const written: string[] = [];
  for (const program of programs) {
    if (!existsSync(join(root, program.entry))) continue;
    if (await bundle(program)) written.push(`dist/${fileOf(program)}`);
    if (cache(program)) written.push(`dist/${program.name}.cache`);
    if (launcher(program)) written.push(`dist/${program.name}`);
  }
  if (existsSync(join(root, "native/Makefile"))) native();
  console.error(written.length === 0 ? "build: up to date" : `build: wrote ${written.join(", ")}`);
}

try {
  await main();
} catch (error) {
  console.error(`build: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
