import { randomFillSync } from "node:crypto";
import { LayerBuilder } from "../../hack/images-layer.ts";
import { Pusher } from "../../hack/images-push.ts";
import { registryAddress } from "./registry.ts";

/** As many layers, files and bytes (unpacked and on the wire) as the image with which the peers were measured. */
const layers = 5;
const filesInLayer = 3600;
const fileBytes = 27 * 1024;
const noiseBytes = 8 * 1024;
const repository = "large/five-layers";

/** Its name, once it is in the registry, where it stays for the next run. */
export async function largeImage(): Promise<string> {
  const probe = await fetch(`http://${registryAddress}/v2/${repository}/manifests/1`);
  await probe.arrayBuffer();
  if (probe.status === 404) await push();
  return `${registryAddress}/${repository}:1`;
}

async function push(): Promise<void> {
  const pusher = new Pusher(registryAddress);
  const made = Array.from({ length: layers }, (_, layer) => {
    const builder = new LayerBuilder();
    for (let file = 0; file < filesInLayer; file++) {
      const content = Buffer.alloc(fileBytes, `${layer} ${file}: text packs well, and most files are text\n`);
      randomFillSync(content, 0, noiseBytes);
      builder.file(`usr/share/large-${layer}/${file % 60}/${file}`, content);
    }
    return builder.build();
  });
  const decoy = new LayerBuilder().file("other-platform", "").build();
  const config = { Cmd: ["/bin/true"] };
  await pusher.push({ repository, tags: ["1"], layers: made, config, single: true }, decoy);
}
