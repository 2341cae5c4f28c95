import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

/** A finished layer. */
export interface Layer {
  readonly diffId: string;
  readonly blob: Buffer;
}

interface EntryOptions {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

const epoch = 1_700_000_000;

export function digestOf(data: Buffer): string {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}

/** One gzip'd tar archive, made entry by entry; missing parents are added before their children. */
export class LayerBuilder {
  readonly #blocks: Buffer[] = [];
  readonly #directories = new Set<string>();

  directory(path: string, options: EntryOptions = {}): this {
    this.#directories.add(path);
    return this.#add(path, "5", { mode: 0o755, ...options }, Buffer.alloc(0), "");
  }

  file(path: string, content: string | Buffer, options: EntryOptions = {}): this {
    return this.#add(path, "0", { mode: 0o644, ...options }, Buffer.from(content), "");
  }

  program(path: string, content: Buffer): this {
    return this.file(path, content, { mode: 0o755 });
  }

  hardlink(path: string, target: string): this {
    return this.#add(path, "1", { mode: 0o755 }, Buffer.alloc(0), target);
  }

  symlink(path: string, target: string): this {
    return this.#add(path, "2", { mode: 0o777 }, Buffer.alloc(0), target);
  }

  #add(path: string, type: string, options: EntryOptions, content: Buffer, link: string): this {
    const slash = path.lastIndexOf("/");
    const parent = slash < 0 ? "" : path.slice(0, slash);
    if (parent !== "" && !this.#directories.has(parent)) this.directory(parent);
    this.#blocks.push(header(path, type, options, content.length, link), content);
    this.#blocks.push(Buffer.alloc(-content.length & 511));
    return this;
  }

  build(): Layer {
    const archive = Buffer.concat([...this.#blocks, Buffer.alloc(1024)]);
    return { diffId: digestOf(archive), blob: gzipSync(archive, { level: 6 }) };
  }
}

/** A ustar header (POSIX.1-1988). */
function header(path: string, type: string, options: EntryOptions, size: number, link: string): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(link) > 100)
    throw new Error(`too long for ustar: ${path}`);
  block.write(path, 0);
  octal(options.mode ?? 0o644, 100, 8);
  octal(options.uid ?? 0, 108, 8);
  octal(options.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(epoch, 136, 12);
  block.fill(" ", 148, 156);
  block.write(type, 156);
  block.write(link, 157);
  block.write("ustar\x0000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
