import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "../../lib/json.ts";
import type { StoredImage, StoredLayer } from "../../ports/image-store.ts";
import type { Logger } from "../../ports/logger.ts";

const version = 1;

/** A layer's record, and the boot in which it was written if nothing has made sure yet that its files are on disk. */
export interface LayerRecord extends StoredLayer {
  readonly unsyncedBoot: string;
}

/** The text of a record, with a checksum over it, so that damage is found rather than served. */
export function encodeRecord(value: StoredImage | LayerRecord): string {
  const body = stringify(value);
  const sum = createHash("sha256").update(body).digest("hex");
  return `{"version":${version},"sha256":"${sum}","record":${body}}\n`;
}

/** Throws on damage. */
export function decodeRecord(text: string): unknown {
  const head = /^\{"version":(\d+),"sha256":"([0-9a-f]{64})","record":/.exec(text);
  if (head === null || !text.endsWith("}\n")) {
    throw new Error("it is no record, or cut short");
  }
  if (Number(head[1]) !== version) {
    throw new Error(`its version is ${head[1]}, not ${version}`);
  }
  const body = text.slice(head[0].length, -2);
  if (createHash("sha256").update(body).digest("hex") !== head[2]) {
    throw new Error("its checksum is wrong");
  }
  return parse(body);
}

/** Every readable record of a directory. The others, and unfinished writes, are removed and logged. */
export async function readRecords<T>(directory: string, log: Logger): Promise<readonly T[]> {
  const records: T[] = [];
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    if (!name.endsWith(".json")) {
      await rm(path, { force: true });
      continue;
    }
    try {
      // The checksum says that it is what encodeRecord was given.
      records.push(decodeRecord(await readFile(path, "utf8")) as T);
    } catch (error) {
      log.warn({ path, err: error }, "a damaged record of the image store is dropped");
      await rm(path, { force: true });
    }
  }
  return records;
}
