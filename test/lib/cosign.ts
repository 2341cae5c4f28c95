import { digestOf } from "../../hack/images-layer.ts";
import { registryAddress } from "./registry.ts";

const api = `http://${registryAddress}/v2`;

/** Of what a tag of the tests' registry leads to. */
export async function topDigest(name: string): Promise<string> {
  const accept = "application/vnd.docker.distribution.manifest.list.v2+json";
  const answer = await fetch(`${api}/${name}/manifests/latest`, { method: "HEAD", headers: { accept } });
  const digest = answer.headers.get("docker-content-digest");
  if (digest === null) throw new Error(`${name}:latest is not in the registry: ${answer.status}`);
  return digest;
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
  await pushManifest(name, `${digest.replace(":", "-")}.sig`, {
    layers: [await pushBlob(name, "application/vnd.dev.cosign.simplesigning.v1+json", payload, annotations)],
  });
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** What cosign 3 signs to say that an image is one's own: an in-toto statement. */
export function statement(digest: string, predicateType = "https://sigstore.dev/cosign/sign/v1"): Buffer {
  const subject = [{ digest: { sha256: digest.slice("sha256:".length) } }];
  return Buffer.from(
    JSON.stringify({ _type: "https://in-toto.io/Statement/v1", subject, predicateType, predicate: {} }),
  );
}

/**
 * Puts bundles beside an image as cosign 3 does where the registry has no list of referrers: each in a document of its own,
 * and an index of these under a tag made of the image's digest. They replace those before.
 */
export async function pushBundles(
  name: string,
  digest: string,
  bundles: readonly string[],
  annotations: Readonly<Record<string, string>> = {},
): Promise<object> {
  const manifests: object[] = [];
  for (const [n, bundle] of bundles.entries()) {
    const manifest = {
      artifactType: bundleType,
      layers: [await pushBlob(name, bundleType, Buffer.from(bundle))],
      subject: { mediaType: manifestType, digest, size: 1 },
    };
    manifests.push({
      ...(await pushManifest(name, `bundle-${n}`, manifest)),
      artifactType: bundleType,
      annotations,
    });
  }
  const index = { schemaVersion: 2, mediaType: indexType, manifests };
  await put(name, digest.replace(":", "-"), indexType, index);
  return index;
}

const manifestType = "application/vnd.oci.image.manifest.v1+json";
const indexType = "application/vnd.oci.image.index.v1+json";

async function pushManifest(name: string, tag: string, manifest: object): Promise<object> {
  const config = await pushBlob(name, "application/vnd.oci.image.config.v1+json", Buffer.from("{}"));
  return await put(name, tag, manifestType, {
    schemaVersion: 2,
    mediaType: manifestType,
    config,
    ...manifest,
  });
}

async function put(name: string, tag: string, mediaType: string, document: object): Promise<object> {
  const bytes = Buffer.from(JSON.stringify(document));
  const answer = await fetch(`${api}/${name}/manifests/${tag}`, {
    method: "PUT",
    body: new Uint8Array(bytes),
    headers: { "content-type": mediaType },
  });
  if (answer.status !== 201) throw new Error(`${name}:${tag} was not taken: ${answer.status}`);
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

async function pushBlob(
  name: string,
  mediaType: string,
  data: Buffer,
  annotations: Readonly<Record<string, string>> = {},
): Promise<object> {
  const session = await fetch(`${api}/${name}/blobs/uploads/`, { method: "POST" });
  const upload = new URL(session.headers.get("location") ?? "", api);
  upload.searchParams.set("digest", digestOf(data));
  await fetch(upload, {
    method: "PUT",
    body: new Uint8Array(data),
    headers: { "content-type": "application/octet-stream" },
  });
  return { mediaType, digest: digestOf(data), size: data.length, annotations };
}
