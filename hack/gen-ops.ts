/**
 * Makes the C header and the TypeScript module of the native protocol's numbers from native/ops.json, so that the two
 * sides can't drift. With --check it only compares.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const warning = "Made by hack/gen-ops.ts from native/ops.json.";

type Groups = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** NewNet becomes NEW_NET. */
function shout(name: string): string {
  return name.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase();
}

function header(groups: Groups): string {
  const lines = [`/* ${warning} */`, "#ifndef BERTH_OPS_GEN_H", "#define BERTH_OPS_GEN_H"];
  for (const [group, values] of Object.entries(groups)) {
    lines.push("", "enum {");
    for (const [name, value] of Object.entries(values)) lines.push(`\t${shout(group)}_${name} = ${value},`);
    lines.push("};");
  }
  lines.push("", "#endif", "");
  return lines.join("\n");
}

function module(groups: Groups): string {
  const lines = [`// ${warning}`];
  for (const [group, values] of Object.entries(groups)) {
    lines.push("", `export const ${group} = {`);
    for (const [name, value] of Object.entries(values)) lines.push(`  ${name}: ${value},`);
    lines.push("} as const;");
  }
  lines.push("");
  return lines.join("\n");
}

const groups: Groups = JSON.parse(readFileSync(resolve(root, "native/ops.json"), "utf8"));
const outputs: readonly (readonly [string, string])[] = [
  ["native/common/ops.gen.h", header(groups)],
  ["cri-server/src/effects/native/ops.gen.ts", module(groups)],
];
for (const [path, text] of outputs) {
  const file = resolve(root, path);
  if (process.argv.includes("--check")) {
    if (readFileSync(file, "utf8") !== text) {
      console.error(`${path} is not what native/ops.json says: run hack/gen-ops.ts`);
      process.exitCode = 1;
    }
  } else {
    writeFileSync(file, text);
  }
}
