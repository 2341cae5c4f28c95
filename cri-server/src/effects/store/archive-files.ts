import { type FileHandle, open, stat } from "node:fs/promises";
import { join, normalize } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";

/** A part of a file: where the content of a name in an archive lies. */
interface Place {
  readonly offset: number;
  readonly size: number;
}

/** Names with content: a directory, or a tar archive that was read once for where everything is. */
export interface ArchiveFiles extends AsyncDisposable {
  /** undefined: there is no such name. */
  size(name: string): Promise<number | undefined>;
  /** The bytes from `offset` on, at most `length`. */
  read(name: string, offset: number, length: number): Promise<Buffer>;
}

export async function openArchiveFiles(path: string): Promise<ArchiveFiles> {
  const kind = await stat(path).catch((cause: unknown) => {
    throw new BerthError("invalid-argument", `archive ${path}: can't be read`, { cause });
  });
  if (kind.isDirectory()) {
    return new DirectoryFiles(path);
  }
  const handle = await open(path, "r");
  try {
    return new TarFiles(handle, await indexTar(handle, kind.size, path));
  } catch (error) {
    await handle.close();
    throw error;
  }
}

class DirectoryFiles implements ArchiveFiles {
  readonly #root: string;
  constructor(root: string) {
    this.#root = root;
  }

  async size(name: string): Promise<number | undefined> {
    const file = await stat(join(this.#root, name)).catch(() => undefined);
    return file?.isFile() === true ? file.size : undefined;
  }

  async read(name: string, offset: number, length: number): Promise<Buffer> {
    const handle = await open(join(this.#root, name), "r");
    try {
      return await readAt(handle, offset, length);
    } finally {
      await handle.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

class TarFiles implements ArchiveFiles {
  readonly #handle: FileHandle;
  readonly #places: ReadonlyMap<string, Place>;
  constructor(handle: FileHandle, places: ReadonlyMap<string, Place>) {
    this.#handle = handle;
    this.#places = places;
  }

  async size(name: string): Promise<number | undefined> {
    return this.#places.get(normalize(name))?.size;
  }

  async read(name: string, offset: number, length: number): Promise<Buffer> {
    const place = this.#places.get(normalize(name));
    if (place === undefined) {
      return Buffer.alloc(0);
    }
    return await readAt(this.#handle, place.offset + offset, Math.min(length, place.size - offset));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(Math.max(0, length));
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, offset + filled);
    if (bytesRead === 0) {
      break;
    }
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** Where the files of a tar archive are. Archives of images have short plain names and links between their layers. */
async function indexTar(
  handle: FileHandle,
  total: number,
  path: string,
): Promise<ReadonlyMap<string, Place>> {
  const places = new Map<string, Place>();
  const links = new Map<string, string>();
  let longName: string | undefined;
  for (let at = 0; at + 512 <= total; ) {
    const header = await readAt(handle, at, 512);
    if (header.every((byte) => byte === 0)) {
      break;
    }
    const size = numeric(header.subarray(124, 136));
    if (!hasChecksum(header) || size === undefined) {
      throw new BerthError(
        "invalid-argument",
        `archive ${path}: not a tar archive (compressed ones have to be unpacked first)`,
      );
    }
    const data = at + 512;
    const type = String.fromCharCode(header[156] ?? 0);
    const name = longName ?? nameOf(header);
    longName = undefined;
    if (type === "L" || type === "x") {
      const text = (await readAt(handle, data, Math.min(size, 1 << 20))).toString("utf8");
      longName =
        type === "L" ? text.replace(/\0+$/, "") : (/\d+ path=([^\n]*)\n/.exec(text)?.[1] ?? undefined);
    } else if (type === "0" || type === "\0") {
      places.set(normalize(name), { offset: data, size });
    } else if (type === "1" || type === "2") {
      const target = text(header.subarray(157, 257));
      links.set(normalize(name), type === "1" ? normalize(target) : normalize(join(name, "..", target)));
    }
    at = data + Math.ceil(size / 512) * 512;
  }
  for (const [name, target] of links) {
    const place = places.get(target);
    if (place !== undefined) {
      places.set(name, place);
    }
  }
  return places;
}

function nameOf(header: Buffer): string {
  const prefix =
    header.subarray(257, 263).toString("latin1") === "ustar\0" ? text(header.subarray(345, 500)) : "";
  const name = text(header.subarray(0, 100));
  return prefix === "" ? name : `${prefix}/${name}`;
}

function text(field: Buffer): string {
  const end = field.indexOf(0);
  return field.subarray(0, end < 0 ? field.length : end).toString("utf8");
}

function numeric(field: Buffer): number | undefined {
  if (((field[0] ?? 0) & 0x80) !== 0) {
    const value = field.subarray(1).reduce((sum, byte) => sum * 256 + byte, 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = field
    .toString("latin1")
    .replace(/[\0 ]+$/, "")
    .trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || "0", 8) : undefined;
}

function hasChecksum(header: Buffer): boolean {
  const sum = header.reduce((total, byte, n) => total + (n >= 148 && n < 156 ? 32 : byte), 0);
  return numeric(header.subarray(148, 156)) === sum;
}
