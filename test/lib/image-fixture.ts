import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { composeImages } from "../../cri-server/src/compose-images.ts";
import type { RangePlan } from "../../cri-server/src/effects/registry/blob-download.ts";
import type { Image } from "../../cri-server/src/model/image.ts";
import type { ImageAdmin } from "../../cri-server/src/ports/image-admin.ts";
import type { Images, PullAuth } from "../../cri-server/src/ports/images.ts";
import type { Logger } from "../../cri-server/src/ports/logger.ts";
import { outcomeOf } from "./command.ts";

export interface LogLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export interface FixtureOptions {
  readonly stallTimeoutSeconds?: number;
  readonly ranges?: RangePlan;
  readonly pinned?: readonly string[];
  readonly idleMs?: number;
  /** Of the fixture's folder. */
  readonly parent?: string;
}

/** The image service without a server around it, on folders of its own. */
export class ImageFixture implements AsyncDisposable {
  readonly dir: string;
  readonly log: LogLine[] = [];
  readonly certsDir: string;
  images: Images & ImageAdmin;
  readonly #options: FixtureOptions;

  private constructor(options: FixtureOptions) {
    this.#options = options;
    this.dir = mkdtempSync(join(options.parent ?? "/var/tmp", "berth-images-"));
    this.certsDir = join(this.dir, "certs.d");
    for (const name of ["root", "run", "certs.d"]) mkdirSync(join(this.dir, name));
    this.images = this.#compose();
  }

  static async open(options: FixtureOptions = {}): Promise<ImageFixture> {
    const fixture = new ImageFixture(options);
    await fixture.images.open();
    return fixture;
  }

  #compose(): Images & ImageAdmin {
    const { stallTimeoutSeconds = 5, pinned = [], ranges, idleMs } = this.#options;
    return composeImages({
      config: {
        root: join(this.dir, "root"),
        state: join(this.dir, "run"),
        nativeDir: join(import.meta.dirname, "../../native/build"),
        registry: {
          certsDir: this.certsDir,
          authFile: join(this.dir, "auth.json"),
          policyFile: join(this.dir, "policy.toml"),
          maxConcurrentDownloads: 3,
          stallTimeoutSeconds,
          pinned,
        },
      },
      host: {
        readImageFiles: async () => [undefined, undefined],
        run: async ({ path, args, stdin, env }) => {
          const { code, stdout, stderr } = await outcomeOf(path, args, {
            input: stdin.toString(),
            env: { ...env },
          });
          return {
            exitCode: code,
            stdout: Buffer.from(stdout),
            stderr: Buffer.from(stderr),
            timedOut: false,
          };
        },
        removeTrees: async (paths) => {
          for (const path of paths) await rm(path, { recursive: true, force: true });
        },
      },
      clock: { now: () => BigInt(Date.now()) * 1_000_000n },
      log: this.#logger(),
      ...(ranges === undefined ? {} : { ranges }),
      ...(idleMs === undefined ? {} : { idleMs }),
    });
  }

  #logger(): Logger {
    const at = (level: string) => (fields: object, message?: string) => {
      this.log.push({ level, fields: { ...fields }, message: message ?? "" });
    };
    const logger: Logger = {
      trace: at("trace"),
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child: () => logger,
    };
    return logger;
  }

  async pull(reference: string, auth?: PullAuth, signal?: AbortSignal, namespace = ""): Promise<Image> {
    return await this.images.pull({ reference, auth, namespace }, signal);
  }

  /** Ends the service as it is, and opens another one on the same folders. */
  async reopen(): Promise<void> {
    await this.images.close();
    this.images = this.#compose();
    await this.images.open();
  }

  path(...parts: readonly string[]): string {
    return join(this.dir, "root", ...parts);
  }

  /** Names of the unpacked layers. */
  layers(): readonly string[] {
    return readdirSync(this.path("layers")).filter((name) => /^[0-9a-f]{24}$/.test(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.images.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
