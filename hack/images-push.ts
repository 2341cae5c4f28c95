import { digestOf, type Layer } from "./images-layer.ts";

/** The part of an image's configuration that says how to run it. */
export interface RunConfig {
  readonly Cmd?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly WorkingDir?: string;
  readonly StopSignal?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
}

export interface ImageRecipe {
  readonly repository: string;
  readonly tags: readonly string[];
  readonly layers: readonly Layer[];
  readonly config: RunConfig;
  /** Docker's media types unless told otherwise: most registries still serve these. */
  readonly oci?: boolean;
  /** A manifest of its own, not one of several platforms. */
  readonly single?: boolean;
}

interface Types {
  readonly index: string;
  readonly manifest: string;
  readonly config: string;
  readonly layer: string;
}

const docker: Types = {
  index: "application/vnd.docker.distribution.manifest.list.v2+json",
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  config: "application/vnd.docker.container.image.v1+json",
  layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};
const oci: Types = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};

const created = "2023-11-14T22:13:20Z";

/** What this machine's programs run on. */
export const architecture = process.arch === "arm64" ? "arm64" : "amd64";

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value, null, 1));
}

/** Pushes over plain HTTP by the distribution API. */
export class Pusher {
  readonly #base: string;
  readonly #sent = new Set<string>();

  constructor(registry: string) {
    this.#base = `http://${registry}/v2`;
  }

  async #blob(repository: string, data: Buffer): Promise<{ digest: string; size: number }> {
    const digest = digestOf(data);
    const known = `${repository}@${digest}`;
    if (!this.#sent.has(known)) {
      const url = `${this.#base}/${repository}/blobs`;
      const present = await fetch(`${url}/${digest}`, { method: "HEAD" });
      if (present.status === 404) {
        const session = await this.#checked(await fetch(`${url}/uploads/`, { method: "POST" }));
        const upload = new URL(session.headers.get("location") ?? "", url);
        upload.searchParams.set("digest", digest);
        const headers = { "content-type": "application/octet-stream" };
        await this.#checked(await fetch(upload, { method: "PUT", body: new Uint8Array(data), headers }));
      }
      this.#sent.add(known);
    }
    return { digest, size: data.length };
  }

  async #manifest(repository: string, reference: string, data: Buffer, type: string): Promise<string> {
    const url = `${this.#base}/${repository}/manifests/${reference}`;
    const headers = { "content-type": type };
    await this.#checked(await fetch(url, { method: "PUT", body: new Uint8Array(data), headers }));
    return digestOf(data);
  }

  async #checked(response: Response): Promise<Response> {
    if (!response.ok) throw new Error(`${response.url}: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
    return response;
  }

  async #one(recipe: ImageRecipe, arch: string, types: Types): Promise<{ data: Buffer; digest: string }> {
    const config = json({
      architecture: arch,
      config: recipe.config,
      created,
      history: recipe.layers.map(() => ({ created, created_by: "hack/images" })),
      os: "linux",
      rootfs: { type: "layers", diff_ids: recipe.layers.map((layer) => layer.diffId) },
    });
    const layers = [];
    for (const layer of recipe.layers) {
      layers.push({ mediaType: types.layer, ...(await this.#blob(recipe.repository, layer.blob)) });
    }
    const data = json({
      schemaVersion: 2,
      mediaType: types.manifest,
      config: { mediaType: types.config, ...(await this.#blob(recipe.repository, config)) },
      layers,
    });
    return { data, digest: digestOf(data) };
  }

  /** Pushes one image under all its tags. Resolves with the digest that they lead to. */
  async push(recipe: ImageRecipe, decoy: Layer): Promise<string> {
    const types = recipe.oci === true ? oci : docker;
    const real = await this.#one(recipe, architecture, types);
    let [top, type] = [real.data, types.manifest];
    if (recipe.single !== true) {
      // First in the list: who does not choose by platform gets an image in which nothing starts.
      const other = architecture === "amd64" ? "arm64" : "amd64";
      const wrong = { ...recipe, layers: [decoy], config: { Cmd: ["/other-platform"] } };
      const entries = [];
      for (const [arch, image] of [
        [other, await this.#one(wrong, other, types)],
        [architecture, real],
      ] as const) {
        await this.#manifest(recipe.repository, image.digest, image.data, types.manifest);
        const platform = { architecture: arch, os: "linux", ...(arch === "arm64" ? { variant: "v8" } : {}) };
        entries.push({ mediaType: types.manifest, digest: image.digest, size: image.data.length, platform });
      }
      top = json({ schemaVersion: 2, mediaType: types.index, manifests: entries });
      type = types.index;
    }
    for (const tag of recipe.tags) await this.#manifest(recipe.repository, tag, top, type);
    return digestOf(top);
  }
}
