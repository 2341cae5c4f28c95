import { open } from "node:fs/promises";
import type { Digest } from "../../model/ids.ts";
import type { ArchiveContent } from "../../ports/image-archive.ts";

const chunkBytes = 1024 * 1024;

/**
 * An OCI layout in a tar archive, with the list of images that `docker load` looks for beside it. Everything has the same
 * time, so that the same images give the same bytes.
 */
export async function* writeArchive(images: readonly ArchiveContent[]): AsyncIterable<Buffer> {
  const written = new Set<Digest>();
  yield* document("oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  for (const image of images) {
    for (const { descriptor, text } of [image.manifest, image.config]) {
      if (!written.has(descriptor.digest)) {
        written.add(descriptor.digest);
        yield* document(blobName(descriptor.digest), text);
      }
    }
    for (const { descriptor, path } of image.layers) {
      if (!written.has(descriptor.digest)) {
        written.add(descriptor.digest);
        yield* file(blobName(descriptor.digest), path, descriptor.size);
      }
    }
  }
  const manifests = images.flatMap(({ manifest, names }) => {
    const named = names.map((name) => ({
      ...manifest.descriptor,
      annotations: {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
      },
    }));
    return named.length === 0 ? [manifest.descriptor] : named;
  });
  yield* document("index.json", JSON.stringify({ schemaVersion: 2, manifests }));
  const docker = images.map((image) => ({
    Config: blobName(image.config.descriptor.digest),
    RepoTags: image.names,
    Layers: image.layers.map((layer) => blobName(layer.descriptor.digest)),
  }));
  yield* document("manifest.json", JSON.stringify(docker));
  yield Buffer.alloc(1024);
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${digest.slice("sha256:".length)}`;
}

function* document(name: string, text: string): Iterable<Buffer> {
  const data = Buffer.from(text);
  yield header(name, data.length);
  yield data;
  yield padding(data.length);
}

async function* file(name: string, path: string, size: number): AsyncIterable<Buffer> {
  yield header(name, size);
  const handle = await open(path, "r");
  try {
    for (let at = 0; at < size; ) {
      const { buffer, bytesRead } = await handle.read(
        Buffer.alloc(Math.min(chunkBytes, size - at)),
        0,
        null,
        at,
      );
      if (bytesRead === 0) {
        throw new Error(`${path} has fewer than ${size} bytes`);
      }
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
  yield padding(size);
}

function padding(size: number): Buffer {
  return Buffer.alloc(-size & 511);
}

/** A ustar header (POSIX.1-1988); a size beyond its octal field as GNU tar writes it. */
function header(name: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100);
  block.write("0000644", 100);
  block.write("0000000", 108);
  block.write("0000000", 116);
  if (size < 8 ** 11) {
    block.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  } else {
    block.writeBigUInt64BE(BigInt(size), 128);
    block[124] = 0x80;
  }
  block.write("00000000000", 136);
  block.fill(" ", 148, 156);
  block.write("0", 156);
  block.write("ustar\x0000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
