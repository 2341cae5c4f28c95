import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { formatAddress, parseAddress, parsePrefix } from "../spec/address.ts";
import { parseConfig } from "../spec/config.ts";
import type { BuiltInIpam } from "../spec/ipam-config.ts";
import { LeaseStore } from "./lease-store.ts";
import { Pool } from "./pool.ts";

let directory = "";
const proof = { boot: "b", hostLink: "veth0", bridge: "br0", netns: "/n", netnsInode: "1", hostPorts: false };
const owner = (containerId: string) => ({ containerId, ifName: "eth0" });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "cni-pool-"));
});
afterEach(() => rm(directory, { recursive: true }));

function ipamOf(ipam: object, more: object = {}): BuiltInIpam {
  const config = {
    cniVersion: "1.1.0",
    name: "net",
    ipam: { type: "host-local", dataDir: directory, ...ipam },
    ...more,
  };
  const parsed = parseConfig(Buffer.from(JSON.stringify(config)), new Map()).ipam;
  if (parsed?.kind !== "built-in") throw new Error("the test's configuration is wrong");
  return parsed;
}

async function take(pool: Pool, ipam: BuiltInIpam, id: string): Promise<string> {
  const given = await pool.allocate(ipam, owner(id), proof);
  return given.map(({ address }) => formatAddress(address)).join(",");
}

const newPool = (): Pool => new Pool(new LeaseStore(directory, "net"));
const small = { ranges: [[{ subnet: "10.0.0.0/29" }]] };

describe.each(["indexed", "not indexed"])("a pool that is %s", (kind) => {
  async function open(): Promise<Pool> {
    const pool = newPool();
    if (kind === "indexed") await pool.index();
    return pool;
  }

  it("gives addresses round robin, each once", async () => {
    const pool = await open();
    const ipam = ipamOf(small);
    expect(await take(pool, ipam, "a")).toBe("10.0.0.2");
    expect(await take(pool, ipam, "b")).toBe("10.0.0.3");
    await pool.release(parseAddress("10.0.0.2", "ip"), owner("a"));
    expect(await take(pool, ipam, "c")).toBe("10.0.0.4");
  });

  it("goes on where another process ended", async () => {
    const pool = await open();
    const ipam = ipamOf(small);
    await take(pool, ipam, "a");
    await pool.close();
    const other = await open();
    expect(await take(other, ipam, "b")).toBe("10.0.0.3");
  });

  it("sees what another process took, though its index is old", async () => {
    const one = await open();
    const two = await open();
    const ipam = ipamOf(small);
    const given = [];
    for (const [index, pool] of [one, two, one, two, one].entries())
      given.push(await take(pool, ipam, `c${index}`));
    expect(new Set(given).size).toBe(5);
    await expect(take(one, ipam, "x")).rejects.toThrow(
      "no address left in 10.0.0.1-10.0.0.6 of 10.0.0.0/29: 5 of 5 in use",
    );
    await two.release(parseAddress(given[0] ?? "", "ip"), owner("c0"));
    expect(await take(one, ipam, "x")).toBe(given[0]);
  });

  it("lets an address rest as long as there is another one", async () => {
    const pool = await open();
    const ipam = ipamOf(small);
    const first = await take(pool, ipam, "a");
    await pool.release(parseAddress(first, "ip"), owner("a"));
    const next = [];
    for (let index = 0; index < 5; index++) next.push(await take(pool, ipam, `b${index}`));
    expect(next.at(-1)).toBe(first);
  });

  it("gives one address out of each set, and none when one of them is exhausted", async () => {
    const pool = await open();
    const ranges = [[{ subnet: "10.0.0.0/24" }], [{ subnet: "fd00::/126", exclude: ["fd00::2/128"] }]];
    const ipam = ipamOf({ ranges });
    expect(await take(pool, ipam, "a")).toBe("10.0.0.2,fd00::3");
    await expect(take(pool, ipam, "b")).rejects.toThrow("fd00::/126");
    expect((await readdir(join(directory, "net"))).filter((name) => name.includes(".0."))).toEqual([
      "10.0.0.2",
    ]);
  });

  it("finds what another process gave an owner", async () => {
    const pool = await open();
    const other = await open();
    const ipam = ipamOf(small);
    await take(pool, ipam, "a");
    const given = await take(other, ipam, "b");
    expect((await pool.searchOf(owner("b"))).map(formatAddress)).toEqual([given]);
    expect(await pool.searchOf(owner("c"))).toEqual([]);
  });

  it("goes through all ranges of a set", async () => {
    const pool = await open();
    const ipam = ipamOf({ ranges: [[{ subnet: "10.0.0.0/30" }, { subnet: "10.0.1.0/30" }]] });
    expect([await take(pool, ipam, "a"), await take(pool, ipam, "b")]).toEqual(["10.0.0.2", "10.0.1.2"]);
  });
});

describe("leases", () => {
  it("have the reference plugin's content", async () => {
    await take(newPool(), ipamOf(small), "abc");
    expect(await readFile(join(directory, "net/10.0.0.2"), "utf8")).toBe("abc\r\neth0");
  });

  it("of the reference plugin are respected, and released by their owner alone", async () => {
    await mkdir(join(directory, "net"));
    await writeFile(join(directory, "net/10.0.0.2"), "old\r\neth0");
    const pool = newPool();
    expect(await take(pool, ipamOf(small), "a")).toBe("10.0.0.3");
    const address = parseAddress("10.0.0.2", "ip");
    expect(await pool.release(address, owner("a"))).toBe(false);
    expect(await pool.release(address, { containerId: "old", ifName: "eth1" })).toBe(false);
    expect(await pool.release(address, owner("old"))).toBe(true);
  });

  it("are made also when the directory is another one since a file was prepared", async () => {
    const store = new LeaseStore(directory, "net");
    const address = parseAddress("10.0.0.9", "ip");
    await store.create(parseAddress("10.0.0.8", "ip"), owner("a"), proof);
    await store.prepare();
    await rm(join(directory, "net"), { recursive: true });
    expect(await store.create(address, owner("b"), proof)).toBe(true);
    await store.prepare();
    expect(await store.create(address, owner("c"), proof)).toBe(false);
    expect((await store.list()).map((lease) => lease.owner)).toEqual([owner("b")]);
    await store.prepare();
    store.close();
  });

  it("carry their proof beside the content", async () => {
    const store = new LeaseStore(directory, "net");
    await store.create(parseAddress("10.0.0.9", "ip"), owner("a"), proof);
    const lease = await store.read(parseAddress("10.0.0.9", "ip"));
    // Some filesystems have no attributes; then the lease is taken for another program's.
    expect([undefined, proof]).toContainEqual(lease?.proof);
    expect(lease?.owner).toEqual(owner("a"));
  });
});

it("100 allocations at once are 100 addresses", async () => {
  const pool = newPool();
  await pool.index();
  const ipam = ipamOf({ ranges: [[{ subnet: "10.9.0.0/16" }]] });
  const given = await Promise.all(Array.from({ length: 100 }, (_, index) => take(pool, ipam, `c${index}`)));
  expect(new Set(given).size).toBe(100);
  await pool.close();
  expect(parsePrefix("10.9.0.0/16", "x").length).toBe(16);
});
