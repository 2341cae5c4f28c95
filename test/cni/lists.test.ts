import { cpus } from "node:os";
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
const source = join(import.meta.dirname, "../../cni-plugin/src");
const host = join(source, "link/host.ts");
const emptyLists = 100_000;

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

/**
 * The kernel ends a list of nothing inside send(2), on a thread of the pool, while this thread may already read: met
 * about once in 20,000 lists when the processors are busy.
 */
const nothing = `
import { Host } from ${JSON.stringify(host)};
import { absent, listChains } from ${JSON.stringify(join(source, "nft/messages.ts"))};
const host = new Host();
const outcomes = new Set();
for (let i = 0; i < ${emptyLists}; i++) {
  const list = host.filter.dump("list chains", listChains(), absent);
  outcomes.add(await list.then((parts) => parts?.length ?? "absent", String));
}
console.log(JSON.stringify([...outcomes]));
host.close();
`;

it("may be empty, though the kernel then reports an error between send and receive", async () => {
  const busy = Array.from(cpus(), () => world.start("sh", "-c", "while :; do :; done"));
  const outcomes = await world.run(node, "--input-type=module", "-e", nothing);
  for (const process of busy) process.kill();
  expect(JSON.parse(outcomes)).toEqual([0]);
});
