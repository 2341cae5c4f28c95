import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import type { Layer } from "../../hack/images-layer.ts";
import { registryAddress } from "./registry.ts";

interface Entry {
  readonly digest: string;
  readonly platform?: { readonly architecture: string };
}

const repository = `http://${registryAddress}/v2/e2e-test-images/busybox`;
const accept = ["list.v2", "v2"]
  .map((kind) => `application/vnd.docker.distribution.manifest.${kind}+json`)
  .join(", ");

async function manifest<T>(reference: string): Promise<T> {
  const answer = await fetch(`${repository}/manifests/${reference}`, { headers: { accept } });
  return (await answer.json()) as T;
}

/** The layers of the tests' busybox, to build upon: a shell and the usual programs. */
export async function busyboxLayers(): Promise<readonly Layer[]> {
  const { manifests } = await manifest<{ readonly manifests: readonly Entry[] }>("1.29-2");
  const own = process.arch === "arm64" ? "arm64" : "amd64";
  const chosen = manifests.find(({ platform }) => platform?.architecture === own);
  const { layers } = await manifest<{ readonly layers: readonly Entry[] }>(chosen?.digest ?? "");
  return await Promise.all(
    layers.map(async ({ digest }): Promise<Layer> => {
      const answer = await fetch(`${repository}/blobs/${digest}`);
      const blob = Buffer.from(await answer.arrayBuffer());
      const diffId = `sha256:${createHash("sha256").update(gunzipSync(blob)).digest("hex")}`;
      return { diffId, blob };
    }),
  );
}
