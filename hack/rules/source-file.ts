import { dirname, join, normalize } from "node:path";
import { parseAst } from "rolldown/parseAst";

/** One `import … from` or `export … from`. */
export interface Import {
  /** Path from the root of the tree for a relative import, else the module's name as written. */
  readonly target: string;
  /** Vanishes when types are stripped. */
  readonly typeOnly: boolean;
  readonly line: number;
}

/** A function with a name or without, nested ones counted into it. */
export interface FunctionSize {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

/** What the checks want to know of a TypeScript file. */
export interface SourceFile {
  /** From the root of the tree. */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  readonly functions: readonly FunctionSize[];
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as Node).type === "string";
}

/** Every node below `value`, parents first, with the name that its parent gives it. */
function* walk(value: unknown, name: string): Generator<readonly [Node, string]> {
  if (Array.isArray(value)) {
    for (const item of value) yield* walk(item, name);
  } else if (isNode(value)) {
    const id = isNode(value.id) ? value.id.name : isNode(value.key) ? value.key.name : undefined;
    const own = typeof id === "string" ? id : name;
    yield [value, own];
    for (const child of Object.values(value)) {
      if (typeof child === "object" && child !== null) yield* walk(child, own);
    }
  }
}

function resolveTarget(path: string, specifier: string): string {
  return specifier.startsWith(".") ? normalize(join(dirname(path), specifier)) : specifier;
}

/** `import { type A }` keeps its import statement when types are stripped, so only `import type` counts as type-only. */
function importOf(node: Node, path: string, lineAt: (offset: number) => number): Import | undefined {
  if (
    node.type !== "ImportDeclaration" &&
    !node.type.startsWith("Export") &&
    node.type !== "ImportExpression"
  )
    return;
  const source = node.source;
  if (!isNode(source) || typeof source.value !== "string") return;
  const typeOnly = node.importKind === "type" || node.exportKind === "type";
  return { target: resolveTarget(path, source.value), typeOnly, line: lineAt(node.start) };
}

const functionTypes = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);

/** Parses one file; throws what the parser says. */
export function parseSource(path: string, text: string): SourceFile {
  const breaks = [...text.matchAll(/\n/g)].map((match) => match.index);
  const lineAt = (offset: number): number => {
    let low = 0;
    let high = breaks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((breaks[middle] ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
  const imports: Import[] = [];
  const functions: FunctionSize[] = [];
  for (const [node, name] of walk(parseAst(text, { lang: "ts" }).body, "")) {
    const found = importOf(node, path, lineAt);
    if (found !== undefined) imports.push(found);
    if (!functionTypes.has(node.type)) continue;
    const line = lineAt(node.start);
    functions.push({
      name: name === "" ? "(anonymous)" : name,
      line,
      lines: lineAt(node.end - 1) - line + 1,
    });
  }
  return { path, lines: breaks.length + (text.endsWith("\n") || text === "" ? 0 : 1), imports, functions };
}
