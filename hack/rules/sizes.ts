import { basename } from "node:path";
import type { FunctionSize, SourceFile } from "./source-file.ts";

const maxFileLines = 400;
const maxFunctionLines = 60;
const maxCFunctionLines = 80;

/** Names that say nothing about what is inside. */
const bannedNames = /^(utils?|helpers?|misc|common|shared|stuff|index)\.[a-z]+$/;

/** A C file: its functions end where a line is a closing brace alone, as clang-format leaves them. */
export interface CFile {
  readonly path: string;
  readonly lines: number;
  readonly functions: readonly FunctionSize[];
}

/** Finds functions by form: a line in column one that ends the parameter list, `{` in column one or at its end, `}` in column one. */
export function parseC(path: string, text: string): CFile {
  const lines = text.split("\n");
  const functions: FunctionSize[] = [];
  let start = -1;
  let name = "";
  lines.forEach((line, index) => {
    const opens =
      /^[a-z_].*\)\s*\{\s*$/i.test(line) || (line === "{" && /\)\s*$/.test(lines[index - 1] ?? ""));
    if (start === -1 && opens) {
      start = index;
      name = /(\w+)\s*\(/.exec(line === "{" ? (lines[index - 1] ?? "") : line)?.[1] ?? "?";
    } else if (start !== -1 && /^\}/.test(line)) {
      functions.push({ name, line: start + 1, lines: index - start + 1 });
      start = -1;
    }
  });
  return { path, lines: text === "" ? 0 : lines.length - (text.endsWith("\n") ? 1 : 0), functions };
}

/** What is too long, and what has a name that says nothing. `exceptions` maps `path` or `path:function` to a reason. */
export function sizeViolations(
  files: readonly (SourceFile | CFile)[],
  exceptions: Readonly<Record<string, string>>,
): string[] {
  const found: string[] = [];
  const used = new Set<string>();
  const excepted = (key: string): boolean => {
    if (!(key in exceptions)) return false;
    used.add(key);
    return true;
  };
  for (const file of files) {
    if (bannedNames.test(basename(file.path))) {
      found.push(`${file.path}: a file is named for the one thing that it is about`);
    }
    if (file.lines > maxFileLines && !excepted(file.path)) {
      found.push(`${file.path}: ${file.lines} lines, at most ${maxFileLines}`);
    }
    if (file.path.endsWith(".test.ts")) continue;
    const most = file.path.endsWith(".ts") ? maxFunctionLines : maxCFunctionLines;
    for (const { name, line, lines } of file.functions) {
      if (lines > most && !excepted(`${file.path}:${name}`)) {
        found.push(`${file.path}:${line}: ${name} has ${lines} lines, at most ${most}`);
      }
    }
  }
  for (const key of Object.keys(exceptions)) {
    if (!used.has(key)) found.push(`hack/rules/exceptions.json: ${key} needs no exception any more`);
  }
  return found;
}
