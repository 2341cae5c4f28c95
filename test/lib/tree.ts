import { join } from "node:path";
import { run } from "./command.ts";

/** One file: the columns of tree.py. */
export interface TreeLine {
  readonly path: string;
  readonly mode: string;
  readonly owner: string;
  readonly mtimeNs: bigint;
  readonly xattrs: string;
  readonly content: string;
}

/** Everything about the files below a directory that an image can determine. Python knows names that are no text, and attributes. */
export async function describeTree(directory: string): Promise<readonly TreeLine[]> {
  const text = await run("python3", [join(import.meta.dirname, "tree.py"), directory]);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [path = "", mode = "", owner = "", mtime = "0", xattrs = "", content = ""] = line.split("\t");
      return { path, mode, owner, mtimeNs: BigInt(mtime), xattrs, content };
    });
}
