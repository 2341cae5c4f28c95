import type { SourceFile } from "./source-file.ts";

/** A part of the tree and what it may import besides itself. */
interface Layer {
  /** Path prefix; the longest that fits is a file's layer. */
  readonly path: string;
  readonly imports: readonly string[];
}

const server = "cri-server/src";
const leaves = ["model", "errors", "lib"].map((name) => `${server}/${name}`);
/** What decisions are made of: nothing here does anything to the machine. */
const pure = [...leaves, `${server}/ports`, `${server}/config`];

/** What every use-case is written in terms of: the dependencies, the objects in memory, their events and labels. */
const basis = ["deps", "objects", "events", "labels"].map((name) => `${server}/domain/${name}.ts`);
const useCase = [...pure, ...basis];

/**
 * The arrows of ARCHITECTURE.md: edge → validate → model, edge → domain → ports ← effects. Inside the domain:
 * sandbox → container → image, sandbox → network, stream → container, never back.
 */
export const layers: readonly Layer[] = [
  { path: `${server}/model`, imports: [] },
  { path: `${server}/errors`, imports: [] },
  { path: `${server}/lib`, imports: [`${server}/errors`] },
  { path: `${server}/config`, imports: leaves },
  { path: `${server}/ports`, imports: leaves },
  { path: `${server}/domain/image`, imports: pure },
  { path: `${server}/domain/network`, imports: pure },
  { path: `${server}/domain/container`, imports: [...useCase, `${server}/domain/image`] },
  {
    path: `${server}/domain/sandbox`,
    imports: [...useCase, `${server}/domain/container`, `${server}/domain/image`, `${server}/domain/network`],
  },
  {
    path: `${server}/domain/stream`,
    imports: [...useCase, `${server}/domain/container`, `${server}/domain/sandbox`],
  },
  { path: `${server}/domain`, imports: pure },
  { path: `${server}/effects/cni`, imports: [...pure, `${server}/effects/native`, "cni-plugin/src"] },
  { path: `${server}/effects/registry`, imports: [...pure, `${server}/domain/image`] },
  { path: `${server}/effects/layer`, imports: pure },
  { path: `${server}/effects/store`, imports: [...pure, `${server}/effects`, `${server}/domain/image`] },
  { path: `${server}/effects`, imports: pure },
  { path: `${server}/validate`, imports: [...pure, "proto/gen"] },
  { path: `${server}/present`, imports: [...pure, "proto/gen"] },
  {
    path: `${server}/edge`,
    imports: [...pure, `${server}/domain`, `${server}/validate`, `${server}/present`, "proto/gen"],
  },
  { path: server, imports: ["cri-server/src", "cni-plugin/src", "package.json"] },
  { path: "cni-plugin/src/spec", imports: [] },
  { path: "cni-plugin/src", imports: [] },
  { path: "proto", imports: [] },
  { path: "hack", imports: ["cri-server/src", "test/lib"] },
  { path: "test", imports: ["cri-server/src", "cni-plugin/src", "proto/gen", "hack"] },
];

/** Modules that only one part may use, and why. */
export const restricted: readonly {
  readonly module: string;
  readonly only: readonly string[];
  readonly why: string;
}[] = [
  {
    module: "node:child_process",
    only: [`${server}/effects/native`, `${server}/effects/layer`, "cni-plugin/src/command/delegate.ts"],
    why: "starting a process blocks the event loop for milliseconds: ask the launcher (MonitorHost.run)",
  },
  {
    module: "koffi",
    only: [`${server}/effects`, "cni-plugin/src"],
    why: "foreign calls belong to effects",
  },
  {
    module: "@grpc/grpc-js",
    only: [`${server}/edge`, "proto/gen"],
    why: "the domain names its errors itself; edge/grpc/status.ts turns them into gRPC codes",
  },
  { module: "pino", only: [`${server}/effects/log`], why: "log through ports/logger.ts" },
  ...["bundle", "core", "protobuf-specs", "verify"].map((name) => ({
    module: `@sigstore/${name}`,
    only: ["log-record", "signature", "signature-form", "trust"].map(
      (file) => `${server}/domain/image/${file}.ts`,
    ),
    why: "the first policy that asks for a signature loads signature.ts, and with it the packages",
  })),
  { module: "netlink", only: ["cni-plugin/src"], why: "links, addresses and routes are the CNI plugin's" },
];

function within(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}

function layerOf(path: string): Layer | undefined {
  const fitting = layers.filter((layer) => within(path, layer.path));
  return fitting.sort((a, b) => b.path.length - a.path.length)[0];
}

function isTest(path: string): boolean {
  return path.endsWith(".test.ts") || path.startsWith("test/") || path.startsWith("hack/");
}

/** Every import that goes where it must not. */
export function layerViolations(files: readonly SourceFile[]): string[] {
  const found: string[] = [];
  for (const file of files) {
    const layer = layerOf(file.path);
    if (layer === undefined) {
      found.push(`${file.path}: belongs to no layer of hack/rules/layers.ts`);
      continue;
    }
    for (const { target, line } of file.imports) {
      const place = `${file.path}:${line}`;
      const rule = restricted.find(({ module }) => module === target);
      if (
        rule !== undefined &&
        !isTest(file.path) &&
        !rule.only.some((prefix) => within(file.path, prefix))
      ) {
        found.push(`${place}: ${target} is for ${rule.only.join(", ")} only: ${rule.why}`);
      }
      const to = layerOf(target);
      if (to === undefined || within(target, layer.path) || isTest(file.path)) continue;
      if (!layer.imports.some((prefix) => within(target, prefix))) {
        found.push(`${place}: ${layer.path} must not import ${target}`);
      }
    }
  }
  return found;
}

/** Groups of files that import each other in a circle when they run; types alone make no circle. */
export function cycles(files: readonly SourceFile[]): string[] {
  const edges = new Map(
    files.map((file) => [
      file.path,
      file.imports.filter(({ typeOnly }) => !typeOnly).map(({ target }) => target),
    ]),
  );
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[] = [];
  const visit = (path: string): void => {
    order.set(path, order.size);
    low.set(path, order.get(path) ?? 0);
    stack.push(path);
    for (const target of edges.get(path) ?? []) {
      if (!edges.has(target)) continue;
      if (!order.has(target)) visit(target);
      if (stack.includes(target)) low.set(path, Math.min(low.get(path) ?? 0, low.get(target) ?? 0));
    }
    if (low.get(path) !== order.get(path)) return;
    const group = stack.splice(stack.indexOf(path));
    const selfish = edges.get(path)?.includes(path) ?? false;
    if (group.length > 1 || selfish) found.push(`import cycle: ${group.sort().join(" ↔ ")}`);
  };
  for (const path of edges.keys()) if (!order.has(path)) visit(path);
  return found;
}
