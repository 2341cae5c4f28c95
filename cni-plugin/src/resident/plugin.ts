import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../command/context.ts";
import { delegate } from "../command/delegate.ts";
import { runCall } from "../command/run.ts";
import { LeaseStore } from "../ipam/lease-store.ts";
import { Pool } from "../ipam/pool.ts";
import { Gate } from "../kernel/gate.ts";
import { Host } from "../link/host.ts";
import { networkTag } from "../link/names.ts";
import { UnlinkQueue } from "../link/unlink.ts";
import { Table } from "../nft/table.ts";
import type { Plugin, PluginOptions, PluginOutcome, PluginServer } from "./handle.ts";
import { inspectHostPorts, inspectNamespace, listOwned } from "./inspect.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import { Reaper } from "./reaper.ts";

export const defaultRunDir = "/run/berth/cni";

interface Resources {
  readonly context: Context;
  readonly host: Host;
  readonly unlink: UnlinkQueue;
  readonly pools: ReadonlyMap<string, Promise<Pool>>;
  readonly gates: ReadonlyMap<string, Gate>;
}

async function openResources(options: PluginOptions, reaper: Reaper): Promise<Resources> {
  const resident = options.resident ?? true;
  const runDir = options.runDir ?? defaultRunDir;
  const host = new Host();
  // A process that stays has all its sockets before the first pod, so that none of them can be taken for a pod's leavings.
  if (resident) void host.filter;
  const warn = (message: string, fields?: object): void => options.log?.("warn", message, fields);
  const unlink = new UnlinkQueue(host, (error) =>
    warn("links could not be deleted", { error: String(error) }),
  );
  const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  const pools = new Map<string, Promise<Pool>>();
  const openPool = async (dataDir: string, network: string): Promise<Pool> => {
    const pool = new Pool(new LeaseStore(dataDir, network));
    if (resident) await pool.index();
    return pool;
  };
  const gates = new Map<string, Gate>();
  const gate = (name: string): Gate => {
    const known = gates.get(name) ?? new Gate(join(runDir, name));
    gates.set(name, known);
    return known;
  };
  if (resident) void unlink.purge();
  const context: Context = {
    host,
    table: new Table(host),
    unlink,
    boot,
    networks: new Map(),
    pool: (dataDir, network) => {
      const path = join(dataDir, network);
      const known = pools.get(path);
      if (known !== undefined) return known;
      const opening = openPool(dataDir, network);
      pools.set(path, opening);
      opening.catch(() => pools.delete(path));
      return opening;
    },
    lockNetwork: (key, mode) => gate(`network-${networkTag(key)}.lock`).acquire(mode),
    lockTable: () => gate("table.lock").acquire("exclusive"),
    delegate,
    watch: (config, gateways) => (resident ? reaper.watch(config, gateways) : undefined),
    warn,
  };
  return { context, host, unlink, pools, gates };
}

async function closeResources({ host, unlink, pools, gates }: Resources, leaveLinks: boolean): Promise<void> {
  if (leaveLinks) unlink.abandon();
  else await unlink.flush();
  for (const pool of pools.values()) await (await pool).close();
  for (const gate of gates.values()) await gate.close();
  host.close();
}

/** Calls of one attachment go one after another, whoever makes them. */
function attachmentOf(env: Readonly<Record<string, string>>): string {
  return `${env.CNI_CONTAINERID ?? ""} ${env.CNI_IFNAME ?? ""}`;
}

/** The plugin in this process. Sockets are opened by the first call that needs them. */
export function createPlugin(options: PluginOptions = {}): Plugin {
  let resources: Promise<Resources> | undefined;
  const queue = new KeyedQueue();
  const running = new Set<Promise<unknown>>();
  const servers = new Set<PluginServer>();
  const reaper: Reaper = new Reaper(() => context());
  const context = async (): Promise<Context> => {
    if (resources === undefined) {
      resources = openResources(options, reaper);
      resources.catch(() => {
        resources = undefined;
      });
    }
    return (await resources).context;
  };
  const run = (
    env: Readonly<Record<string, string>>,
    stdin: Buffer,
    netnsFd?: number,
  ): Promise<PluginOutcome> => {
    const outcome = queue.run(attachmentOf(env), () => runCall(context, env, stdin, netnsFd));
    running.add(outcome);
    const done = (): boolean => running.delete(outcome);
    outcome.then(done, done);
    return outcome;
  };
  return {
    run,
    serve: async (socketPath) => {
      // Only servers need node:net.
      const { serveLauncher } = await import("./serve.ts");
      const server = await serveLauncher(socketPath, run, async () => (await context()).host.inode);
      servers.add(server);
      return server;
    },
    inspect: async (path) => await inspectNamespace(await context(), path),
    hostPorts: async (containerId) => await inspectHostPorts(await context(), containerId),
    owned: async () => await listOwned(await context()),
    close: async () => {
      reaper.close();
      for (const server of servers) await server.close();
      await Promise.allSettled(running);
      const open = resources;
      resources = undefined;
      if (open !== undefined) await closeResources(await open, options.leaveLinks ?? false);
    },
  };
}
