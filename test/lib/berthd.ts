import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CriClient, type ImageService, type Runtime } from "./cri-client.ts";
import { Crictl } from "./crictl.ts";
import { eventually } from "./eventually.ts";
import { registryAddress } from "./registry.ts";

const root = join(import.meta.dirname, "../..");

/** An emulated processor takes most of a minute; a server that can't start ends, and nobody waits for it. */
const startLimitMs = 150_000;

export interface ServerOptions {
  /** More flags of berthd. */
  readonly flags?: readonly string[];
  /** The text of berth.toml. */
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** File names and texts of the CNI configuration; default: what hack/serve makes. */
  readonly cni?: Readonly<Record<string, string>>;
}

/** Registries whose names the tests may use; all are the tests' own. */
export const mirroredRegistries = [
  "registry.test",
  "gcr.io",
  "registry.k8s.io",
  "k8s.gcr.io",
  "public.ecr.aws",
];

/**
 * A server on folders of its own, started as people start it: by hack/serve. One that a test killed can be started
 * again on the same folders, with other options.
 */
export class Berthd implements AsyncDisposable {
  readonly dir: string;
  readonly socket: string;
  readonly crictl: Crictl;
  #options: ServerOptions;
  #process: ChildProcess | undefined;
  #client: CriClient | undefined;

  private constructor(dir: string, options: ServerOptions) {
    this.dir = dir;
    this.socket = join(dir, "berth.sock");
    this.crictl = new Crictl(this.socket);
    this.#options = options;
  }

  /** Resolves when the server is ready to serve. */
  static async start(options: ServerOptions = {}): Promise<Berthd> {
    if (process.env.BERTH_TEST_CGROUP === undefined) {
      throw new Error("this test makes pods: run it by hack/test or inside hack/isolated");
    }
    // Short: a pod's socket has to fit into the 108 bytes of sockaddr_un.
    const server = new Berthd(mkdtempSync(join(process.env.BERTH_TEST_TMP ?? "/tmp", "berth-")), options);
    for (const registry of mirroredRegistries) {
      const folder = join(server.dir, "certs.d", registry);
      await mkdir(folder, { recursive: true });
      const host = `[host."http://${registryAddress}"]\n  capabilities = ["pull", "resolve"]\n`;
      await writeFile(join(folder, "hosts.toml"), `server = "http://${registryAddress}"\n${host}`);
    }
    await mkdir(join(server.dir, "cni.d"));
    for (const [name, text] of Object.entries(options.cni ?? {})) {
      await writeFile(join(server.dir, "cni.d", name), text);
    }
    await server.again();
    return server;
  }

  get runtime(): Runtime {
    return this.client.runtime;
  }

  get image(): ImageService {
    return this.client.image;
  }

  get client(): CriClient {
    this.#client ??= new CriClient(this.socket);
    return this.#client;
  }

  /** The server's process. Throws when it does not run. */
  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined || this.#process?.exitCode !== null)
      throw new Error(`berthd in ${this.dir} does not run`);
    return pid;
  }

  /** Starts the server on the same folders; `options` replace those that it had. */
  async again(options: ServerOptions = this.#options): Promise<void> {
    this.#options = options;
    if (options.config !== undefined) await writeFile(join(this.dir, "berth.toml"), options.config);
    const env = { ...process.env, BERTH_NO_BUILD: "1", ...options.env };
    const flags = ["--log-level", process.env.BERTH_TEST_LOG ?? "debug", ...(options.flags ?? [])];
    const child = spawn(join(root, "hack/serve"), [this.dir, ...flags], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    const log = createWriteStream(this.logPath, { flags: "a" });
    child.stderr.pipe(log);
    let printed = "";
    child.stdout.on("data", (chunk: Buffer) => {
      printed += chunk.toString();
      log.write(chunk);
    });
    await eventually(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      if (!/^ready$/m.test(printed))
        throw new Error(`berthd in ${this.dir} is not ready:\n${await this.logTail()}`);
    }, startLimitMs);
    if (child.exitCode !== null)
      throw new Error(`berthd ended with ${child.exitCode}:\n${await this.logTail()}`);
  }

  get logPath(): string {
    return join(this.dir, "berthd.log");
  }

  log(): Promise<string> {
    return readFile(this.logPath, "utf8");
  }

  async logTail(lines = 30): Promise<string> {
    return (await this.log()).split("\n").slice(-lines).join("\n");
  }

  /** Sends the signal and waits for the end; pods live on. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Stops and starts. */
  async restart(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.stop(signal);
    await this.again();
  }

  /** Removes every pod. */
  async removePods(): Promise<void> {
    const { items } = await this.runtime.listPodSandbox();
    await Promise.all(items.map(({ id }) => this.runtime.removePodSandbox({ podSandboxId: id })));
  }

  /** What goes on behind answers that were given (Status, verbose). */
  async #pendingWork(): Promise<readonly string[]> {
    const { info } = await this.runtime.status({ verbose: true });
    const { pendingWork } = JSON.parse(info.berth ?? "{}") as { readonly pendingWork?: readonly string[] };
    return pendingWork ?? [];
  }

  /**
   * Removes every pod, stops the server and removes its folder. A server that was stopped is started for it. The folder
   * holds the records of work that goes on behind an answer, so that work has to be done first.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) await this.again({});
    await this.removePods();
    await eventually(async () => {
      const pending = await this.#pendingWork();
      if (pending.length > 0) throw new Error(`still pending: ${pending.join(", ")}`);
    }, 30_000);
    await this.stop();
    if (process.env.BERTH_TEST_KEEP === undefined) rmSync(this.dir, { recursive: true, force: true });
  }
}
