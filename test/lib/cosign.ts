import { createHash } from "node:crypto";
import { registryAddress } from "./registry.ts";

const api = `http://${registryAddress}/v2`;

function digestOf(data: Buffer): string {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}

/** Of what a tag of the tests' registry leads to. */
export async function topDigest(name: string): Promise<string> {
  const accept = "application/vnd.docker.distribution.manifest.list.v2+json";
  const answer = await fetch(`${api}/${name}/manifests/latest`, { method: "HEAD", headers: { accept } });
  return answer.headers.get("docker-content-digest") ?? "";
}

/** What cosign signs to say that an image is one's own. */
export function claim(name: string, digest: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": name },
        image: { "docker-manifest-digest": digest },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
}

/**
 * Puts a signature beside an image as cosign does: what was signed as a layer, the signature and what belongs to it as
 * annotations, under a tag made of the image's digest. It replaces the one before.
 */
export async function pushSignature(
  name: string,
  digest: string,
  payload: Buffer,
  annotations: Readonly<Record<string, string>>,
): Promise<void> {
  const config = Buffer.from("{}");
  await pushBlob(name, payload);
  await pushBlob(name, config);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(config),
      size: config.length,
    },
    layers: [
      {
        mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
        digest: digestOf(payload),
        size: payload.length,
        annotations,
      },
    ],
  };
  const put = await fetch(`${api}/${name}/manifests/${digest.replace(":", "-")}.sig`, {
    method: "PUT",
    body: JSON.stringify(manifest),
    headers: { "content-type": mediaType },
  });
  if (put.status !== 201) throw new Error(`the signature of ${name} was not taken: ${put.status}`);
}

async function pushBlob(name: string, data: Buffer): Promise<void> {
  const session = await fetch(`${api}/${name}/blobs/uploads/`, { method: "POST" });
  const upload = new URL(session.headers.get("location") ?? "", api);
  upload.searchParams.set("digest", digestOf(data));
  await fetch(upload, {
    method: "PUT",
    body: new Uint8Array(data),
    headers: { "content-type": "application/octet-stream" },
  });
}
