import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Berthd } from "./berthd.ts";
import { run } from "./command.ts";
import { isLongRun } from "./sizes.ts";

/** What crictl can stream over. */
export const transports = ["spdy", "websocket"] as const;

const blockBytes = 1_000_003;
const blocks = isLongRun ? 1000 : 250;

/** What a long transfer moves. */
export const longTransfer = isLongRun ? "a gigabyte" : "a quarter of a gigabyte";

/**
 * A shell command that writes what a long transfer moves, whose period is no multiple of any buffer's size, so that nothing
 * can be lost or swapped unseen. `file` keeps one period of it.
 */
export function longSource(file: string): string {
  const make = `yes 0123456789abcdef | head -c ${blockBytes} > ${file}`;
  return `[ -e ${file} ] || ${make}; for i in $(seq ${blocks}); do cat ${file}; done`;
}

/** crictl with pipes. */
export interface CrictlProcess extends ChildProcess {
  readonly stdin: NodeJS.WritableStream & ChildProcess["stdin"];
  readonly stdout: Readable;
}

/** What a long transfer cost the server and its other clients. */
export interface Transfer {
  readonly result: string;
  readonly seconds: number;
  /** MiB of resident memory. */
  readonly before: number;
  readonly peak: number;
  /** Milliseconds of ListContainers meanwhile. */
  readonly p50: number;
  readonly p99: number;
}

/** Streaming clients of one server, and what they do to it. */
export class Streaming {
  readonly #server: Berthd;
  #checksum: Promise<string> | undefined;

  constructor(server: Berthd) {
    this.#server = server;
  }

  crictl(...args: readonly string[]): CrictlProcess {
    const child = spawn("crictl", [...this.#flags, ...args], { stdio: "pipe" });
    child.stdin.on("error", () => {});
    return child as unknown as CrictlProcess;
  }

  /** crictl's command line, for a shell. */
  command(args: readonly string[]): string {
    return ["crictl", ...this.#flags, ...args].join(" ");
  }

  openFiles(): number {
    return readdirSync(`/proc/${this.#server.pid}/fd`).length;
  }

  /** What a long transfer moves, from outside. */
  get source(): string {
    return `(${longSource(join(this.#server.dir, "block"))})`;
  }

  /** The source's, as sha256sum prints it. */
  checksum(): Promise<string> {
    this.#checksum ??= run("sh", ["-c", `${this.source} | sha256sum`]).then((line) => line.trim());
    return this.#checksum;
  }

  /** MiB of resident memory. */
  memory(): number {
    const status = readFileSync(`/proc/${this.#server.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  /** Runs a pipeline of the shell's that moves as much as the source gives, and asks the server for its containers all the while. */
  async transfer(name: string, pipeline: string): Promise<Transfer> {
    const before = this.memory();
    const start = performance.now();
    const work = run("sh", ["-c", pipeline]);
    const { times, peak } = await this.#watch(work);
    const seconds = (performance.now() - start) / 1000;
    const at = (part: number): number => times[Math.floor(times.length * part)] ?? 0;
    const [p50, p99] = [at(0.5), at(0.99)];
    const rate = Math.round((blocks * blockBytes) / 1e6 / seconds);
    const answers = `ListContainers p50 ${p50.toFixed(1)} p99 ${p99.toFixed(1)} ms`;
    console.log(`${name}: ${rate} MB/s, peak ${Math.round(peak)} MiB, ${answers}`);
    return { result: (await work).trim(), seconds, before, peak, p50, p99 };
  }

  get #flags(): readonly string[] {
    const endpoint = `unix://${this.#server.socket}`;
    return ["--runtime-endpoint", endpoint, "--image-endpoint", endpoint];
  }

  async #watch(work: Promise<unknown>): Promise<{ times: number[]; peak: number }> {
    const times: number[] = [];
    let peak = 0;
    let isDone = false;
    work.then(
      () => {
        isDone = true;
      },
      () => {
        isDone = true;
      },
    );
    while (!isDone) {
      const start = performance.now();
      await this.#server.runtime.listContainers({});
      times.push(performance.now() - start);
      peak = Math.max(peak, this.memory());
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return { times: times.sort((a, b) => a - b), peak };
  }
}

/** A megabyte in which every block differs, over and over. */
export function* pattern(bytes: number): Generator<Buffer> {
  const block = Buffer.alloc(1 << 20);
  for (let at = 0; at < block.length; at += 8) {
    block.writeDoubleLE(Math.sqrt(at), at);
  }
  for (let left = bytes; left > 0; left -= block.length) {
    yield left < block.length ? block.subarray(0, left) : block;
  }
}
