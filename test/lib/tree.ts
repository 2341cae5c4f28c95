import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";

/** Everything about the files below a directory that an image can determine, one line each. */
export async function describeTree(directory: string): Promise<readonly string[]> {
  const lines: string[] = [];
  const seen = new Map<bigint, string>();
  const xattrs = await attributes(directory);
  const visit = (path: string): void => {
    const full = join(directory, path);
    const stat = lstatSync(full, { bigint: true });
    const first = seen.get(stat.ino);
    const fields = [
      `/${path}`,
      (stat.mode & 0o177777n).toString(8),
      `${stat.uid}:${stat.gid}`,
      stat.mtimeNs.toString(),
      xattrs.get(path) ?? "",
    ];
    if (stat.isDirectory()) {
      lines.push(fields.join(" "));
      for (const name of readdirSync(full).sort()) visit(path === "" ? name : `${path}/${name}`);
      return;
    }
    if (first !== undefined) fields.push(`same as ${first}`);
    else if (stat.isFile()) {
      // A file with holes takes fewer blocks than its size.
      const sparse = stat.blocks * 512n < stat.size ? "sparse" : "";
      fields.push(`${stat.size}`, createHash("sha256").update(readFileSync(full)).digest("hex"), sparse);
    } else if (stat.isSymbolicLink()) fields.push(`-> ${readlinkSync(full)}`);
    else fields.push(`device ${stat.rdev}`);
    if (stat.nlink > 1n && first === undefined) seen.set(stat.ino, `/${path}`);
    lines.push(fields.join(" "));
  };
  visit("");
  return lines;
}

/** Extended attributes by path, as getfattr prints them. */
async function attributes(directory: string): Promise<ReadonlyMap<string, string>> {
  const script = `
import os, sys, json
top = os.fsencode(sys.argv[1])
out = {}
for at, directories, files in os.walk(top):
    for name in [b""] + directories + files:
        path = os.path.join(at, name) if name else at
        names = sorted(os.listxattr(path, follow_symlinks=False))
        if names:
            key = os.path.relpath(path, top).decode("latin1")
            out["" if key == "." else key] = ",".join(n + "=" + os.getxattr(path, n, follow_symlinks=False).hex() for n in names)
json.dump(out, sys.stdout)`;
  return new Map(
    Object.entries(JSON.parse(await run("python3", ["-c", script, directory])) as Record<string, string>),
  );
}
