import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { nginx, pull, TestPod } from "../lib/pod.ts";

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
