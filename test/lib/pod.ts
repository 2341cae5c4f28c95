import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type ContainerConfig,
  ContainerState,
  type DeepPartial,
  type PodSandboxConfig,
} from "../../proto/gen/api.ts";
import type { Berthd } from "./berthd.ts";
import { eventually } from "./eventually.ts";
import { testImage } from "./registry.ts";

/** The image of most containers: a shell and the usual programs. */
export const busybox = testImage("e2e-test-images/busybox:1.29-2");

/** nginx on port 80, in the foreground. */
export const nginx = testImage("e2e-test-images/nginx:1.14-2");

/** What the kubelet would send for a pod without wishes: pod namespaces, PIDs per container. */
export function podConfig(
  server: Berthd,
  config: DeepPartial<PodSandboxConfig> = {},
): DeepPartial<PodSandboxConfig> {
  const uid = randomBytes(8).toString("hex");
  const logDirectory = join(server.dir, "logs", uid);
  mkdirSync(logDirectory, { recursive: true });
  return {
    metadata: { name: `pod-${uid}`, uid, namespace: "test", attempt: 0 },
    logDirectory,
    ...config,
    linux: {
      ...config.linux,
      securityContext: {
        ...config.linux?.securityContext,
        namespaceOptions: { pid: 1, ...config.linux?.securityContext?.namespaceOptions },
      },
    },
  };
}

/** The output of an ExecSync, as text. */
export interface ExecOutput {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A container, by its id. */
export class TestContainer {
  readonly id: string;
  readonly logPath: string;
  readonly #server: Berthd;

  constructor(server: Berthd, id: string, logPath: string) {
    this.#server = server;
    this.id = id;
    this.logPath = logPath;
  }

  async start(): Promise<this> {
    await this.#server.runtime.startContainer({ containerId: this.id });
    return this;
  }

  async status() {
    const { status } = await this.#server.runtime.containerStatus({ containerId: this.id });
    if (status === undefined) throw new Error(`container ${this.id} has no status`);
    return status;
  }

  /** Resolves with the status when the container has ended. */
  async exited(milliseconds = 10_000) {
    return eventually(async () => {
      const status = await this.status();
      if (status.state !== ContainerState.CONTAINER_EXITED)
        throw new Error(`container ${this.id} still runs`);
      return status;
    }, milliseconds);
  }

  async exec(...cmd: string[]): Promise<ExecOutput> {
    const { exitCode, stdout, stderr } = await this.#server.runtime.execSync({
      containerId: this.id,
      cmd,
      timeout: 20,
    });
    return { exitCode, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
  }

  /** The standard output of a shell command that has to succeed. */
  async sh(command: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.exec("/bin/sh", "-c", command);
    if (exitCode !== 0) throw new Error(`${command} in ${this.id} ended with ${exitCode}: ${stderr}`);
    return stdout.trim();
  }

  async stop(timeout = 0): Promise<void> {
    await this.#server.runtime.stopContainer({ containerId: this.id, timeout });
  }

  async remove(): Promise<void> {
    await this.#server.runtime.removeContainer({ containerId: this.id });
  }

  /** The log file as it is. */
  log(): Promise<string> {
    return readFile(this.logPath, "utf8");
  }
}

/** A pod, by its id. Disposing of it removes it. */
export class TestPod implements AsyncDisposable {
  readonly id: string;
  readonly config: DeepPartial<PodSandboxConfig>;
  readonly #server: Berthd;
  #containers = 0;

  private constructor(server: Berthd, id: string, config: DeepPartial<PodSandboxConfig>) {
    this.#server = server;
    this.id = id;
    this.config = config;
  }

  static async run(
    server: Berthd,
    config: DeepPartial<PodSandboxConfig> = {},
    runtimeHandler = "",
  ): Promise<TestPod> {
    const whole = podConfig(server, config);
    const { podSandboxId } = await server.runtime.runPodSandbox({ config: whole, runtimeHandler });
    return new TestPod(server, podSandboxId, whole);
  }

  async status() {
    const { status } = await this.#server.runtime.podSandboxStatus({ podSandboxId: this.id });
    if (status === undefined) throw new Error(`pod ${this.id} has no status`);
    return status;
  }

  /** The pod's first address. */
  async ip(): Promise<string> {
    const ip = (await this.status()).network?.ip;
    if (ip === undefined || ip === "") throw new Error(`pod ${this.id} has no address`);
    return ip;
  }

  /** A created container; default: busybox that sleeps. */
  async create(config: DeepPartial<ContainerConfig> = {}): Promise<TestContainer> {
    this.#containers += 1;
    const name = `container-${this.#containers}`;
    const whole = {
      metadata: { name, attempt: 0 },
      image: { image: busybox },
      command: ["/bin/sleep", "86400"],
      logPath: `${name}.log`,
      ...config,
    };
    const { containerId } = await this.#server.runtime.createContainer({
      podSandboxId: this.id,
      config: whole,
      sandboxConfig: this.config,
    });
    return new TestContainer(this.#server, containerId, join(this.config.logDirectory ?? "", whole.logPath));
  }

  /** A started container. */
  async start(config: DeepPartial<ContainerConfig> = {}): Promise<TestContainer> {
    return (await this.create(config)).start();
  }

  /** A started container that runs a shell script. */
  script(script: string, config: DeepPartial<ContainerConfig> = {}): Promise<TestContainer> {
    return this.start({ command: ["/bin/sh", "-c", script], ...config });
  }

  async stop(): Promise<void> {
    await this.#server.runtime.stopPodSandbox({ podSandboxId: this.id });
  }

  async remove(): Promise<void> {
    await this.#server.runtime.removePodSandbox({ podSandboxId: this.id });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}

/** Pulls an image unless the server has it. */
export async function pull(server: Berthd, image = busybox): Promise<void> {
  const { image: present } = await server.image.imageStatus({ image: { image } });
  if (present === undefined) await server.image.pullImage({ image: { image } });
}
