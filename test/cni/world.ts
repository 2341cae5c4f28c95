import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Outcome } from "../lib/command.ts";
import { outcomeOf, run } from "../lib/command.ts";
import { hasNat } from "../lib/kernel.ts";

const root = join(import.meta.dirname, "../..");
export const executable = join(root, "native/build/berth");
const node = join(root, "node_modules/.bin/node");

export type Json = Readonly<Record<string, unknown>>;

/** One call of the plugin, as a runtime makes it. */
export interface CallSpec {
  readonly command: string;
  readonly id?: string;
  /** Name under /run/netns, or a path. */
  readonly netns?: string;
  readonly ifName?: string;
  readonly args?: string;
  readonly config: Json | string;
  /** Without the server, even if one runs. */
  readonly alone?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly plugin?: string;
  /** SIGKILL to the launcher after this time; a call that ended by it has code 128. */
  readonly killAfterMs?: number;
}

export interface CallOutcome extends Outcome {
  /** Standard output as JSON, {} when it is empty. */
  readonly json: Readonly<Record<string, unknown>>;
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once("exit", () => resolve());
  });
}

function parsed({ stdout, code }: Outcome): Json {
  if (stdout.trim() === "") return {};
  try {
    return JSON.parse(stdout) as Json;
  } catch (error) {
    // A call that was killed may have printed half of its answer.
    if (code !== 0) return {};
    throw error;
  }
}

/** nsenter becomes the program that it starts, so the signal goes to that. */
function killed(
  file: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input: string,
  afterMs: number,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "pipe"] });
    let stdout = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    const timer = setTimeout(() => child.kill("SIGKILL"), afterMs);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 128, stdout, stderr: "" });
    });
  });
}

/** A host of its own to network on: a network and a mount namespace, and a folder. */
export class World {
  readonly directory: string;
  readonly #holder: ChildProcess;
  #server: ChildProcess | undefined;
  #children: ChildProcess[] = [];

  private constructor(directory: string, holder: ChildProcess) {
    this.directory = directory;
    this.#holder = holder;
  }

  static async create(): Promise<World> {
    const directory = await mkdtemp("/tmp/berth-cni-test-");
    const script =
      "mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up && echo up && exec sleep 3600";
    const holder = spawn("unshare", ["-mn", "--propagation", "private", "sh", "-c", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await new Promise<void>((resolve, reject) => {
      holder.stdout?.once("data", () => resolve());
      holder.once("exit", (code) => reject(new Error(`unshare ended with ${code}`)));
    });
    return new World(directory, holder);
  }

  get socket(): string {
    return join(this.directory, "cni.sock");
  }

  get dataDir(): string {
    return join(this.directory, "networks");
  }

  #enter(command: readonly string[]): readonly string[] {
    return ["-t", String(this.#holder.pid), "-m", "-n", "--", ...command];
  }

  /** Runs a program in the world; any exit code is an answer. */
  outcomeOf(...command: readonly string[]): Promise<Outcome> {
    return outcomeOf("nsenter", this.#enter(command));
  }

  run(...command: readonly string[]): Promise<string> {
    return run("nsenter", this.#enter(command));
  }

  /** Runs a program inside a pod of the world. */
  inPod(netns: string, ...command: readonly string[]): Promise<Outcome> {
    return this.outcomeOf("ip", "netns", "exec", netns, ...command);
  }

  /** Starts a program that stays; it ends with the world. */
  start(...command: readonly string[]): ChildProcess {
    const child = spawn("nsenter", this.#enter(command), { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.push(child);
    return child;
  }

  async addNetns(...names: readonly string[]): Promise<void> {
    for (const name of names) await this.run("ip", "netns", "add", name);
  }

  /** A namespace `outside` for another machine: 192.0.2.2 and 2001:db8::2, by way of the host's .1. */
  async addOutside(): Promise<void> {
    await this.addNetns("outside");
    await this.run(
      "sh",
      "-ec",
      `ip link add out0 type veth peer name eth0 netns outside; ip link set out0 up; ip -n outside link set eth0 up
      ip addr add 192.0.2.1/24 dev out0; ip -n outside addr add 192.0.2.2/24 dev eth0
      ip addr add 2001:db8::1/64 dev out0 nodad; ip -n outside addr add 2001:db8::2/64 dev eth0 nodad
      ip -n outside route add default via 192.0.2.1; ip -n outside route add default via 2001:db8::1`,
    );
  }

  async deleteNetns(...names: readonly string[]): Promise<void> {
    for (const name of names) await this.run("ip", "netns", "delete", name);
  }

  /** Starts the resident server; resolves when it answers. */
  async startServer(): Promise<ChildProcess> {
    const server = this.start(node, join(import.meta.dirname, "server.ts"), this.socket, this.#runDir);
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.stdout?.once("data", () => resolve());
      server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    });
    return server;
  }

  get #runDir(): string {
    return join(this.directory, "run");
  }

  async stopServer(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.kill(signal);
    await ended(server);
  }

  /** The same by the plugin's code inside another process, as the server calls it. */
  async callInProcess(spec: CallSpec): Promise<Outcome> {
    const script = join(import.meta.dirname, "in-process.ts");
    const { env, input } = this.#callOf(spec);
    const command = this.#enter([node, script, this.#runDir]);
    return outcomeOf("nsenter", command, { input: JSON.stringify({ env, input }) });
  }

  #callOf(spec: CallSpec): { readonly env: Readonly<Record<string, string>>; readonly input: string } {
    const netns =
      spec.netns === undefined || spec.netns === "" || spec.netns.includes("/")
        ? (spec.netns ?? "")
        : `/run/netns/${spec.netns}`;
    const env = {
      PATH: process.env.PATH ?? "",
      CNI_COMMAND: spec.command,
      CNI_PATH: "/usr/lib/cni",
      BERTH_CNI_SOCKET: spec.alone === true ? "/nonexistent" : this.socket,
      BERTH_CNI_RUN_DIR: this.#runDir,
      ...(spec.id === undefined ? {} : { CNI_CONTAINERID: spec.id, CNI_IFNAME: spec.ifName ?? "eth0" }),
      ...(netns === "" ? {} : { CNI_NETNS: netns }),
      ...(spec.args === undefined ? {} : { CNI_ARGS: spec.args }),
      ...spec.env,
    };
    const input = typeof spec.config === "string" ? spec.config : JSON.stringify(spec.config);
    return { env, input };
  }

  async call(spec: CallSpec): Promise<CallOutcome> {
    const { env, input } = this.#callOf(spec);
    const command = this.#enter([spec.plugin ?? executable]);
    const outcome = await (spec.killAfterMs === undefined
      ? outcomeOf("nsenter", command, { env, input })
      : killed("nsenter", command, env, input, spec.killAfterMs));
    return { ...outcome, json: parsed(outcome) };
  }

  /** The call has to succeed. */
  async must(spec: CallSpec): Promise<Readonly<Record<string, unknown>>> {
    const outcome = await this.call(spec);
    if (outcome.code !== 0)
      throw new Error(`${spec.command} ${spec.id ?? ""}: ${outcome.stdout}${outcome.stderr}`);
    return outcome.json;
  }

  /** A configuration with the keys that most tests want. */
  config(more: Json = {}): Json {
    return {
      cniVersion: "1.1.0",
      name: "testnet",
      type: "berth",
      bridge: "brtest",
      isGateway: true,
      ipMasq: hasNat,
      hairpinMode: true,
      ipam: {
        type: "berth",
        dataDir: this.dataDir,
        ranges: [[{ subnet: "10.66.0.0/16" }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
      ...more,
    };
  }

  /** What pods have left on the host: links but lo and bridges, leases, host ports. Waits for links that are being deleted. */
  async leftovers(network = "testnet"): Promise<readonly string[]> {
    let found: string[] = [];
    for (let attempt = 0; attempt < 40; attempt++) {
      found = [
        ...(await this.links()),
        ...(await this.leases(network)).map((name) => `lease ${name}`),
        ...(await this.hostPorts()).map((element) => `host port ${element}`),
      ];
      if (found.length === 0) break;
      await sleep(50);
    }
    return found;
  }

  async links(): Promise<readonly string[]> {
    const links = JSON.parse(await this.run("ip", "-j", "-d", "link")) as readonly {
      readonly ifname: string;
      readonly linkinfo?: { readonly info_kind?: string };
    }[];
    return links
      .filter((link) => link.ifname !== "lo" && link.linkinfo?.info_kind !== "bridge")
      .map((link) => `link ${link.ifname}`);
  }

  async leases(network = "testnet"): Promise<readonly string[]> {
    const names = await readdir(join(this.dataDir, network)).catch(() => [] as string[]);
    return names.filter((name) => /^[0-9a-f:.]+$/.test(name));
  }

  async hostPorts(): Promise<readonly string[]> {
    const { code, stdout } = await this.outcomeOf("nft", "-j", "list", "table", "inet", "berth");
    if (code !== 0) return [];
    const { nftables } = JSON.parse(stdout) as { readonly nftables: readonly Json[] };
    return nftables.flatMap((entry) => {
      const map = entry.map as { readonly name: string; readonly elem?: readonly unknown[] } | undefined;
      if (map?.name.startsWith("hostports") !== true) return [];
      return (map.elem ?? []).map((element) => JSON.stringify(element));
    });
  }

  async close(): Promise<void> {
    await this.stopServer();
    for (const child of [...this.#children, this.#holder]) {
      child.kill("SIGKILL");
      await ended(child);
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}
