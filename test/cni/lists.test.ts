import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await World.create();
});
afterAll(() => world.close());

const count = 300;
const node = join(import.meta.dirname, "../../node_modules/.bin/node");
const host = join(import.meta.dirname, "../../cni-plugin/src/link/host.ts");

/** Lengths of lists of all links: ten asked for at once, while a link comes and goes. */
const script = `
import { Host } from ${JSON.stringify(host)};
const host = new Host();
const lists = await Promise.all(Array.from({ length: 10 }, () => host.listLinks()));
console.log(JSON.stringify(lists.map((links) => links.filter(({ name }) => name.startsWith("many")).length)));
host.close();
`;

it("are whole, however many are asked for at once and whatever changes meanwhile", async () => {
  await world.run(
    "sh",
    "-ec",
    `for i in $(seq ${count}); do echo link add many$i type bridge; done | ip -batch -`,
  );
  const unrest = world.start(
    "sh",
    "-c",
    "while true; do ip link add unrest type bridge; ip link delete unrest; done",
  );
  const lengths = JSON.parse(await world.run(node, "--input-type=module", "-e", script)) as readonly number[];
  unrest.kill();
  expect(lengths).toEqual(Array.from({ length: 10 }, () => count));
});
