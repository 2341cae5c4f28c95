import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import type { CachedAttachment } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";
import { createResultCache } from "./result-cache.ts";

let directory: string;
const warnings: string[] = [];
const log: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn: (_fields, message) => void warnings.push(message ?? ""),
  error() {},
  child: () => log,
};
const attachment: CachedAttachment = {
  containerId: "abc",
  ifName: "eth0",
  networkName: "net-work",
  netns: "/run/netns/x",
  config: '{"name":"net-work"}',
  cniArgs: [["IgnoreUnknown", "1"]],
  capabilityArgs: { cgroupPath: "/x" },
  result: { ips: [] },
  ours: true,
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "berth-cache-"));
  warnings.length = 0;
  return () => rm(directory, { recursive: true });
});

it("writes libcni's format, for root only", async () => {
  const cache = createResultCache(directory, log);
  await cache.put(attachment);
  const path = join(directory, "results/net-work-abc-eth0");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(join(directory, "results"))).mode & 0o777).toBe(0o700);
  expect(JSON.parse(await readFile(path, "utf8"))).toEqual({
    kind: "cniCacheV1",
    containerId: "abc",
    config: Buffer.from('{"name":"net-work"}').toString("base64"),
    ifName: "eth0",
    networkName: "net-work",
    netns: "/run/netns/x",
    cniArgs: [["IgnoreUnknown", "1"]],
    capabilityArgs: { cgroupPath: "/x" },
    result: { ips: [] },
    manager: "berth",
  });
});

it("finds what it has put, with and without knowing the network", async () => {
  const cache = createResultCache(directory, log);
  await cache.put(attachment);
  expect(await cache.find("abc", "net-work")).toEqual([attachment]);
  expect(await cache.find("abc", "other")).toEqual([attachment]);
  expect(await cache.find("ab", "other")).toEqual([]);
  await cache.remove(attachment);
  await cache.remove(attachment);
  expect(await cache.find("abc", "net-work")).toEqual([]);
});

it("tells another runtime's entries apart, and skips damaged ones", async () => {
  const cache = createResultCache(directory, log);
  await cache.put(attachment);
  const foreign = {
    kind: "cniCacheV1",
    containerId: "podman",
    ifName: "eth0",
    networkName: "podman",
    config: "e30=",
  };
  await writeFile(join(directory, "results/podman-podman-eth0"), JSON.stringify(foreign));
  await writeFile(join(directory, "results/net-zero-eth0"), "");
  await writeFile(join(directory, "results/junk"), "{}");
  const all = await cache.list();
  expect(all.map((entry) => [entry.containerId, entry.ours])).toEqual([
    ["abc", true],
    ["podman", false],
  ]);
  expect(warnings).toHaveLength(1);
});

it("removes what a killed server left unfinished", async () => {
  await createResultCache(directory, log).put(attachment);
  const unfinished = join(directory, "results/.0123456789abcdef");
  await writeFile(unfinished, '{"kind":');
  expect(await createResultCache(directory, log).list()).toHaveLength(1);
  await expect(stat(unfinished)).rejects.toMatchObject({ code: "ENOENT" });
});
