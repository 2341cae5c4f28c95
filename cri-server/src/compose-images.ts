import { join } from "node:path";
import type { Config } from "./config/config.ts";
import { createImages } from "./domain/image/images.ts";
import { manifestTypes, type Platform } from "./domain/image/manifest.ts";
import { Unpacker } from "./effects/layer/unpacker.ts";
import { credentialsKey } from "./effects/registry/auth.ts";
import type { RangePlan } from "./effects/registry/blob-download.ts";
import { askHelper } from "./effects/registry/credential-helper.ts";
import { PolicyFile } from "./effects/registry/policy-file.ts";
import { HttpRegistry } from "./effects/registry/registry.ts";
import { FileImageArchives } from "./effects/store/image-archives.ts";
import { FileImageStore } from "./effects/store/image-store.ts";
import type { Clock } from "./ports/clock.ts";
import type { ImageAdmin } from "./ports/image-admin.ts";
import type { Images } from "./ports/images.ts";
import type { Logger } from "./ports/logger.ts";
import type { MonitorHost } from "./ports/monitor.ts";
import type { Telemetry } from "./ports/telemetry.ts";

/** The parts of a server that the image service is made of. */
export interface ImagesParts {
  readonly config: Pick<Config, "root" | "state" | "nativeDir" | "registry">;
  readonly host: Pick<MonitorHost, "readImageFiles" | "removeTrees" | "run">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly telemetry?: Telemetry | undefined;
  readonly ranges?: RangePlan;
  readonly idleMs?: number;
}

/** A layer larger than this, or with more files, is taken for an attack. */
const layerLimits = { maxBytes: 256 * 1024 ** 3, maxEntries: 4_000_000 };

/** Wires the image service. */
export function composeImages({
  config,
  host,
  clock,
  log,
  telemetry,
  ranges,
  idleMs = 600_000,
}: ImagesParts): Images & ImageAdmin {
  const unpacker = new Unpacker({
    program: join(config.nativeDir, "berth-unpack"),
    socket: join(config.state, "unpack.sock"),
    imagesDir: join(config.root, "images"),
    layersDir: join(config.root, "layers"),
    log,
  });
  return createImages({
    registry: new HttpRegistry({
      certsDir: config.registry.certsDir,
      stallTimeoutSeconds: config.registry.stallTimeoutSeconds,
      authFile: config.registry.authFile,
      askHelper: async (name, server) =>
        await askHelper(async (request) => await host.run(request), name, server),
      manifestTypes: [...manifestTypes.index, ...manifestTypes.image],
      ...(ranges === undefined ? {} : { ranges }),
      meter: telemetry,
      log,
    }),
    store: new FileImageStore({
      root: config.root,
      unpacker,
      limits: layerLimits,
      removeTrees: async (paths) => await host.removeTrees(paths),
      log,
    }),
    archives: new FileImageArchives(),
    policy: new PolicyFile(config.registry.policyFile),
    platform: hostPlatform(),
    idleMs,
    maxConcurrentDownloads: config.registry.maxConcurrentDownloads,
    pinned: config.registry.pinned,
    credentialsKey,
    readImageFiles: async (dirs, paths, maxBytes) => await host.readImageFiles(dirs, paths, maxBytes),
    clock,
    log,
    telemetry,
  });
}

/** This machine as images name it (GOOS and GOARCH). */
function hostPlatform(): Platform {
  const arm = process.arch === "arm64";
  return { os: "linux", architecture: arm ? "arm64" : "amd64", variant: arm ? "v8" : "" };
}
