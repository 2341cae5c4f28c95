import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LayerBuilder } from "../../hack/images-layer.ts";
import { Pusher } from "../../hack/images-push.ts";
import { Berthd } from "../lib/berthd.ts";
import { busyboxLayers } from "../lib/busybox-layers.ts";
import { eventually } from "../lib/eventually.ts";
import { nginx, pull, TestPod } from "../lib/pod.ts";
import { registryAddress, testImage } from "../lib/registry.ts";

describe("an image that is removed while it is a volume", () => {
  it.each(["id", "name"] as const)(
    "given by its %s stays for the container, also when the server is killed, and goes with it",
    async (how) => {
      await using server = await Berthd.start();
      await pull(server);
      const layers = (): readonly string[] =>
        readdirSync(join(server.dir, "lib/layers")).filter((name) => /^[0-9a-f]{24}$/.test(name));
      const without = layers();
      await pull(server, nginx);
      const { image } = await server.image.imageStatus({ image: { image: nginx } });
      await using pod = await TestPod.run(server);
      const container = await pod.start({
        mounts: [
          {
            containerPath: "/web",
            image: { image: how === "id" ? (image?.id ?? "") : nginx },
            readonly: true,
          },
        ],
      });
      const during = layers();
      expect(during.length).toBeGreaterThan(without.length);
      await server.image.removeImage({ image: { image: nginx } });
      expect((await server.image.imageStatus({ image: { image: nginx } })).image).toBeUndefined();
      await server.restart("SIGKILL");
      expect(layers()).toEqual(during);
      expect(await container.sh("ls /web/etc/passwd")).toBe("/web/etc/passwd");
      await container.remove();
      await eventually(() => expect(layers()).toEqual(without));
    },
  );
});

describe("an image of 150 layers", () => {
  it("runs, and shows every layer's part in its order", { timeout: 120_000 }, async () => {
    const many = 150;
    const layers = Array.from({ length: many }, (_, n) =>
      new LayerBuilder().file(`layers/${n}`, `${n}`).file("top", `${n}`).build(),
    );
    const decoy = new LayerBuilder().file("other-platform", "").build();
    const recipe = { repository: "many/layers", tags: ["1"], config: {}, single: true };
    await new Pusher(registryAddress).push(
      { ...recipe, layers: [...(await busyboxLayers()), ...layers] },
      decoy,
    );
    await using server = await Berthd.start();
    const image = testImage("many/layers:1");
    await pull(server, image);
    await using pod = await TestPod.run(server);
    const container = await pod.start({ image: { image } });
    expect(await container.sh("ls /layers | wc -l")).toBe(String(many));
    expect(await container.sh("cat /top /layers/0")).toBe(`${many - 1}0`);
    expect(await container.sh("echo mine >/layers/0 && cat /layers/0")).toBe("mine");
  });
});
