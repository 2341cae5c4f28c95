/** One entry of a handmade archive. Everything may be wrong: that is what these are for. */
export interface TarEntry {
  readonly name: string;
  /** typeflag; default "0". */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly link?: string;
  readonly data?: string | Buffer;
  /** What the header says instead of the data's length. */
  readonly size?: number | bigint;
  readonly major?: number;
  readonly minor?: number;
  /** Records of a pax header before the entry. */
  readonly pax?: Readonly<Record<string, string | Buffer>>;
  /** GNU long name and long link before the entry. */
  readonly longName?: string;
  readonly longLink?: string;
  readonly magic?: string;
  readonly prefix?: string;
  /** Changes the finished header. */
  readonly damage?: (header: Buffer) => void;
  /** Written instead of the header's checksum. */
  readonly checksum?: number;
}

/** The bytes of an archive, its end included. */
export function tarArchive(entries: readonly TarEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(entryBlocks), Buffer.alloc(1024)]);
}

function entryBlocks(entry: TarEntry): readonly Buffer[] {
  const blocks: Buffer[] = [];
  if (entry.pax !== undefined) blocks.push(...special("x", paxRecords(entry.pax)));
  if (entry.longName !== undefined) blocks.push(...special("L", Buffer.from(`${entry.longName}\0`)));
  if (entry.longLink !== undefined) blocks.push(...special("K", Buffer.from(`${entry.longLink}\0`)));
  const data = Buffer.from(entry.data ?? "");
  blocks.push(header(entry, data.length), data, padding(data.length));
  return blocks;
}

function special(type: string, data: Buffer): readonly Buffer[] {
  return [header({ name: "special", type }, data.length), data, padding(data.length)];
}

function padding(length: number): Buffer {
  return Buffer.alloc(-length & 511);
}

/** "%d %s=%s\n", where the number counts itself. */
export function paxRecords(records: Readonly<Record<string, string | Buffer>>): Buffer {
  return Buffer.concat(
    Object.entries(records).map(([key, value]) => {
      const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from("\n")]);
      let length = body.length + 1;
      while (String(length).length + body.length !== length) length += 1;
      return Buffer.concat([Buffer.from(String(length)), body]);
    }),
  );
}

function header(entry: TarEntry, length: number): Buffer {
  const block = Buffer.alloc(512);
  const number = (value: number | bigint, at: number, width: number): void => {
    const text = value.toString(8);
    if (text.length < width && value >= 0) {
      block.write(text.padStart(width - 1, "0"), at, "latin1");
      return;
    }
    // Base 256, as GNU tar writes what octal has no room for.
    let rest = BigInt.asUintN(8 * width, BigInt(value));
    for (let i = width - 1; i >= 0; i--) {
      block[at + i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    block[at] = (block[at] ?? 0) | 0x80;
  };
  block.write(entry.name, 0, 100);
  number(entry.mode ?? 0o644, 100, 8);
  number(entry.uid ?? 0, 108, 8);
  number(entry.gid ?? 0, 116, 8);
  number(entry.size ?? length, 124, 12);
  number(entry.mtime ?? 1_600_000_000, 136, 12);
  block.write(entry.type ?? "0", 156, "latin1");
  block.write(entry.link ?? "", 157, 100);
  block.write(entry.magic ?? "ustar\x0000", 257, "latin1");
  number(entry.major ?? 0, 329, 8);
  number(entry.minor ?? 0, 337, 8);
  block.write(entry.prefix ?? "", 345, 155);
  entry.damage?.(block);
  block.fill(" ", 148, 156);
  const sum = entry.checksum ?? block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
