import { hostname } from "node:os";
import { join } from "node:path";
import type { Plugin } from "../../cni-plugin/src/resident/handle.ts";
import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";
import { composeImages } from "./compose-images.ts";
import { serveOperator } from "./compose-operator.ts";
import type { Config } from "./config/config.ts";
import { defaultApparmorProfile, defaultApparmorText } from "./domain/container/plan/apparmor-profile.ts";
import { warmPlans } from "./domain/container/plan/prepare.ts";
import { createStreamTargets } from "./domain/container/stream-targets.ts";
import type { LifecycleDeps } from "./domain/deps.ts";
import { Events } from "./domain/events.ts";
import { createPodNetwork } from "./domain/network/pod-network.ts";
import { sweepPeriodically } from "./domain/network/sweep.ts";
import { Objects } from "./domain/objects.ts";
import { recover } from "./domain/recover.ts";
import { imageService } from "./edge/grpc/image-service.ts";
import { listen } from "./edge/grpc/listen.ts";
import { runtimeService } from "./edge/grpc/runtime-service.ts";
import type { Gate } from "./edge/grpc/wrap.ts";
import { createMetrics } from "./edge/metrics/listen.ts";
import { startStreamServer } from "./edge/stream/server.ts";
import { SpecDirectories } from "./effects/cdi/spec-directories.ts";
import { createClock } from "./effects/clock.ts";
import { openConfDirectory } from "./effects/cni/conf-directory.ts";
import { countedRunner } from "./effects/cni/counted-runner.ts";
import { createPluginRunner } from "./effects/cni/plugin-runner.ts";
import { createResultCache } from "./effects/cni/result-cache.ts";
import { loadApparmorProfile } from "./effects/kernel/apparmor.ts";
import { detachMount } from "./effects/kernel/detach-mount.ts";
import { readHostFacts } from "./effects/kernel/host.ts";
import { LocalHostFiles } from "./effects/kernel/host-files.ts";
import { KernelUsage } from "./effects/kernel/host-usage.ts";
import { openCgroups } from "./effects/kernel/open-cgroups.ts";
import { createPodDialer } from "./effects/kernel/pod-dialer.ts";
import { LibseccompFilters } from "./effects/kernel/seccomp.ts";
import { TurnQueue } from "./effects/kernel/turn-queue.ts";
import { parseExitFile } from "./effects/native/exit-file.ts";
import { startLauncher } from "./effects/native/launcher.ts";
import { lockDirectories } from "./effects/store/directory-lock.ts";
import type { LayerProjects } from "./effects/store/layer-projects.ts";
import { createLayerUsage } from "./effects/store/layer-usage.ts";
import { createPodStorage } from "./effects/store/pod-storage.ts";
import { openRecords } from "./effects/store/records.ts";
import { makeFailpoint } from "./lib/failpoint.ts";
import { KeyedMutex } from "./lib/keyed-mutex.ts";
import { Reservations } from "./lib/reservations.ts";
import { RetryQueue } from "./lib/retry-queue.ts";
import type { ImageAdmin } from "./ports/image-admin.ts";
import type { Images } from "./ports/images.ts";
import type { Logger } from "./ports/logger.ts";
import type { MonitorHost } from "./ports/monitor.ts";
import type { Telemetry } from "./ports/telemetry.ts";

/** A server that serves. */
export interface RunningServer {
  /** Stops serving; pods live on. */
  close(): Promise<void>;
}

/** How long calls that run may go on when the server is told to stop. */
const closeGraceMs = 3000;
/** Work behind an answer that fails is repeated after these. */
const retryPolicy = { firstMs: 100, longestMs: 30_000 };

/** Builds everything, recovers what was there, and serves. */
export async function compose(config: Config, log: Logger): Promise<RunningServer> {
  const unlock = lockDirectories([config.root, config.state]);
  // First, while this process is small: the launcher is the only program that it starts by a fork of its own.
  const monitors = await startLauncher({
    program: join(config.nativeDir, "berth-native"),
    poolSize: config.runtime.poolSize,
    onLost: (reason) => {
      log.error({ reason }, "the launcher is gone; ending, pods live on");
      process.exit(1);
    },
  });
  const plugin = createPlugin({ log: (level, message, fields) => log[level](fields ?? {}, message) });
  const worker = await plugin.serve(config.cni.workerSocket);
  log.debug({ socket: worker.path }, "CNI worker listens");
  const metrics = config.metrics.address === undefined ? undefined : createMetrics();
  const deps = await composeLifecycle(config, log, { monitors, plugin, telemetry: metrics?.telemetry });
  await Promise.all([deps.images.open().then(() => recover(deps)), loadDefaultProfile(deps)]);
  const targets = createStreamTargets(deps);
  const streams = await startStreamServer({
    config: config.stream,
    targets,
    dialer: createPodDialer(),
    log,
  });
  const liveIds = (): string[] => [...deps.objects.pods()].map(({ sandbox }) => sandbox.id);
  const endSweeps = sweepPeriodically(deps.network, liveIds, log);
  const gate: Gate = { refusal: undefined };
  const wrap = { gate, log, telemetry: deps.telemetry };
  warmPlans(deps.plan).catch((error: unknown) => {
    log.warn(
      { err: error },
      "the default seccomp profile can't be compiled: containers that ask for it will fail",
    );
  });
  const layers = createLayerUsage(deps.clock, log, deps.projects);
  const usage = new KernelUsage(deps.clock, new TurnQueue());
  const listener = await listen(config.socket, [
    runtimeService({ ...deps, config, layers, usage, streams, targets }, wrap),
    imageService(deps, wrap),
  ]);
  const operator = await serveOperator(config, deps, plugin, metrics);
  return {
    close: async () => {
      gate.refusal = "the server is stopping";
      endSweeps();
      await Promise.all([listener.close(closeGraceMs), streams.close(), operator.close()]);
      await close(deps);
      await plugin.close();
      unlock();
    },
  };
}

/**
 * The default AppArmor profile, from this version's text. One that is there already serves until it is replaced, so
 * nothing waits for that: the compiler takes a tenth of a second and more.
 */
async function loadDefaultProfile({ host, plan, monitors, log }: LifecycleDeps): Promise<void> {
  if (!host.apparmor) return;
  const loading = loadApparmorProfile(monitors, defaultApparmorText()).catch((error: unknown) => {
    log.warn({ err: error, profile: defaultApparmorProfile }, "the default AppArmor profile can't be loaded");
  });
  if (!(await plan.files.apparmorProfileLoaded(defaultApparmorProfile))) await loading;
}

/** What runs before anything is recovered. */
interface Started {
  readonly monitors: MonitorHost;
  readonly plugin: Plugin;
  readonly telemetry: Telemetry | undefined;
}

async function composeLifecycle(
  config: Config,
  log: Logger,
  { monitors, plugin, telemetry }: Started,
): Promise<LifecycleDeps & { readonly images: Images & ImageAdmin; readonly projects: LayerProjects }> {
  const clock = createClock();
  const [host, cgroups, store, { storage, projects }] = await Promise.all([
    readHostFacts(),
    openCgroups({
      defaultParent: config.runtime.defaultCgroupParent,
      driver: config.runtime.cgroupDriver,
      clock,
    }),
    openRecords(config.root, log),
    createPodStorage({
      root: config.root,
      state: config.state,
      netnsDir: config.netnsDir,
      detachMount,
      parseExit: parseExitFile,
      mustLimit: config.runtime.writableLayerBytes > 0,
      log,
    }),
  ]);
  return {
    objects: new Objects(),
    store,
    monitors,
    cgroups,
    network: composeNetwork(config, log, { monitors, plugin, telemetry }),
    images: composeImages({ config, host: monitors, clock, log, telemetry }),
    storage,
    projects,
    events: new Events(() => clock.now()),
    clock,
    log,
    host,
    plan: {
      cgroups,
      seccomp: new LibseccompFilters(join(config.root, "seccomp")),
      files: new LocalHostFiles(),
      cdi: new SpecDirectories(config.runtime.cdiSpecDirs),
      host,
      settings: {
        pidsLimit: config.runtime.pidsLimit,
        maxLogLineBytes: config.runtime.maxLogLineBytes,
        seccompProfile: config.runtime.seccompProfile,
      },
    },
    locks: new KeyedMutex(),
    reservations: new Reservations(),
    background: new RetryQueue(retryPolicy, (key, error, attempt) => {
      log.warn({ err: error, work: key, attempt }, "work behind an answer failed; it is tried again");
    }),
    failpoint: makeFailpoint(process.env.BERTH_FAILPOINTS),
    telemetry,
    settings: lifecycleSettings(config),
  };
}

function lifecycleSettings({ runtime }: Config): LifecycleDeps["settings"] {
  return {
    shmBytes: BigInt(runtime.shmBytes),
    writableLayerBytes: BigInt(runtime.writableLayerBytes),
    hostname: hostname(),
  };
}

function composeNetwork(
  config: Config,
  log: Logger,
  { monitors, plugin, telemetry }: Started,
): LifecycleDeps["network"] {
  const runner = createPluginRunner({
    host: monitors,
    binDirs: [...config.cni.binDirs, config.nativeDir],
    // Our own plugin costs no process: its code runs here when a configuration names it.
    inProcess: new Map([["berth", (env, stdin) => plugin.run(env, stdin)]]),
    environment: process.env,
  });
  return createPodNetwork({
    config: config.cni,
    runner: telemetry === undefined ? runner : countedRunner(runner, telemetry),
    cache: createResultCache(config.cni.cacheDir, log),
    directory: openConfDirectory(config.cni.confDir, log),
    log,
  });
}

async function close(deps: LifecycleDeps): Promise<void> {
  await deps.background.close();
  await deps.network.close();
  await deps.images.close();
  for (const pod of deps.objects.pods()) {
    pod.monitor?.disconnect();
  }
  await deps.monitors.close();
  await deps.store.close();
  await deps.storage.close();
}
