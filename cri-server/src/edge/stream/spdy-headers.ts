import { constants, createInflate, type Inflate } from "node:zlib";
import { spdyDictionary, spdyDictionaryId } from "./spdy-dictionary.ts";

/** Kubernetes' clients send a hundred bytes; of two thousand streams each may hold so much. */
const maxBlockBytes = 8 * 1024;

/** Lower-case names. A name that occurs twice has its last value. */
export type SpdyHeaders = ReadonlyMap<string, string>;

function parseBlock(block: Buffer): SpdyHeaders {
  const headers = new Map<string, string>();
  let at = 0;
  const number = (): number => {
    const value = block.readUInt32BE(at);
    at += 4;
    return value;
  };
  const text = (): string => {
    const length = number();
    if (at + length > block.length) {
      throw new RangeError("a header goes beyond its block");
    }
    const value = block.toString("latin1", at, at + length);
    at += length;
    return value;
  };
  for (let left = number(); left > 0; left -= 1) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}

/** Reads header blocks. All blocks of a connection are one zlib stream, so each has to be read, and in order. */
export class HeaderReader {
  readonly #inflate: Inflate;
  #output: Buffer[] = [];
  #size = 0;
  #failure: Error | undefined;

  constructor() {
    this.#inflate = createInflate({
      dictionary: spdyDictionary,
      finishFlush: constants.Z_SYNC_FLUSH,
      flush: constants.Z_SYNC_FLUSH,
    });
    this.#inflate.on("data", (chunk: Buffer) => {
      this.#size += chunk.length;
      if (this.#size <= maxBlockBytes) {
        this.#output.push(chunk);
      }
    });
    this.#inflate.on("error", (error) => {
      this.#failure = error;
    });
  }

  /** One block at a time. Rejects when it is damaged or too large. */
  async read(block: Buffer): Promise<SpdyHeaders> {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => reject(error);
      this.#inflate.once("error", fail);
      this.#inflate.write(block, (error) => {
        this.#inflate.off("error", fail);
        if (error === null || error === undefined) {
          resolve();
        } else {
          reject(error);
        }
      });
    });
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
    if (this.#size > maxBlockBytes) {
      throw new RangeError(`a header block of more than ${maxBlockBytes} bytes`);
    }
    const plain = Buffer.concat(this.#output);
    this.#output = [];
    this.#size = 0;
    return parseBlock(plain);
  }

  close(): void {
    this.#inflate.destroy();
  }
}

/** One stored block with a count of zero, and an empty one after it: readers hand out what they have at that. */
const emptyBlock = Buffer.from([0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);

/**
 * Writes header blocks without headers, the only ones that this server sends. Their bytes are always the same, so no
 * compressor is needed: deflate allows blocks that are stored as they are (RFC 1951, 3.2.4).
 */
export class EmptyHeaderWriter {
  #begun = false;

  next(): Buffer {
    if (this.#begun) {
      return emptyBlock;
    }
    this.#begun = true;
    // CMF 0x78; FLG says "preset dictionary" and makes both a multiple of 31 (RFC 1950, 2.2).
    const start = Buffer.from([0x78, 0xbb, 0, 0, 0, 0]);
    start.writeUInt32BE(spdyDictionaryId, 2);
    return Buffer.concat([start, emptyBlock]);
  }
}
