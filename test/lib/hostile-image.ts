import { gunzipSync, gzipSync } from "node:zlib";
import { digestOf, type Layer } from "../../hack/images-layer.ts";
import { Pusher, type RunConfig } from "../../hack/images-push.ts";
import { registryAddress, testImage } from "./registry.ts";
import { type TarEntry, tarArchive } from "./tar-archive.ts";

const base = "e2e-test-images/busybox";
const api = `http://${registryAddress}/v2/${base}`;
const accept = [
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

interface Manifest {
  readonly manifests?: readonly { readonly digest: string; readonly platform: { architecture: string } }[];
  readonly layers?: readonly { readonly digest: string }[];
}

async function manifest(reference: string): Promise<Manifest> {
  const answer = await fetch(`${api}/manifests/${reference}`, { headers: { accept } });
  return (await answer.json()) as Manifest;
}

/** The layers of the image that most tests run: a shell and the usual programs. */
async function busyboxLayers(): Promise<readonly Layer[]> {
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const list = await manifest("1.29-2");
  const own = list.manifests?.find(({ platform }) => platform.architecture === architecture);
  const { layers = [] } = await manifest(own?.digest ?? "");
  return await Promise.all(
    layers.map(async ({ digest }) => {
      const blob = Buffer.from(await (await fetch(`${api}/blobs/${digest}`)).arrayBuffer());
      return { diffId: digestOf(gunzipSync(blob)), blob };
    }),
  );
}

/** What an attacker puts on top of an ordinary image. */
export interface HostileImage {
  /** Its repository, below `hostile/`. */
  readonly name: string;
  readonly entries?: readonly TarEntry[];
  /** Of the image's configuration; nobody checks these for us. */
  readonly config?: RunConfig & { readonly Volumes?: Readonly<Record<string, object>> };
}

/** Pushes the image to the tests' registry. Resolves with its name; it is the same image every time, so nothing piles up. */
export async function pushHostile({ name, entries = [], config = {} }: HostileImage): Promise<string> {
  const archive = tarArchive(entries);
  const own: Layer = { diffId: digestOf(archive), blob: gzipSync(archive) };
  const layers = [...(await busyboxLayers()), own];
  const recipe = {
    repository: `hostile/${name}`,
    tags: ["1"],
    layers,
    config: { Cmd: ["/bin/sleep", "86400"], ...config },
    single: true,
  };
  await new Pusher(registryAddress).push(recipe, own);
  return testImage(`hostile/${name}:1`);
}
