import type { UntypedHandleCall } from "@grpc/grpc-js";
import { RuntimeServiceService as definition } from "../../../../proto/gen/api.ts";
import type { ServedService } from "./listen.ts";
import { attach } from "./runtime/attach.ts";
import { checkpointContainer } from "./runtime/checkpoint-container.ts";
import { checkpointPod } from "./runtime/checkpoint-pod.ts";
import { containerStats } from "./runtime/container-stats.ts";
import { containerStatus } from "./runtime/container-status.ts";
import { createContainer } from "./runtime/create-container.ts";
import { exec } from "./runtime/exec.ts";
import { execSync } from "./runtime/exec-sync.ts";
import { getContainerEvents } from "./runtime/get-container-events.ts";
import { listContainerStats } from "./runtime/list-container-stats.ts";
import { listContainers } from "./runtime/list-containers.ts";
import { listMetricDescriptors } from "./runtime/list-metric-descriptors.ts";
import { listPodSandbox } from "./runtime/list-pod-sandbox.ts";
import { listPodSandboxMetrics } from "./runtime/list-pod-sandbox-metrics.ts";
import { listPodSandboxStats } from "./runtime/list-pod-sandbox-stats.ts";
import { podSandboxStats } from "./runtime/pod-sandbox-stats.ts";
import { podSandboxStatus } from "./runtime/pod-sandbox-status.ts";
import { portForward } from "./runtime/port-forward.ts";
import { removeContainer } from "./runtime/remove-container.ts";
import { removePodSandbox } from "./runtime/remove-pod-sandbox.ts";
import { reopenContainerLog } from "./runtime/reopen-container-log.ts";
import { restorePod } from "./runtime/restore-pod.ts";
import { runPodSandbox } from "./runtime/run-pod-sandbox.ts";
import { runtimeConfig } from "./runtime/runtime-config.ts";
import { startContainer } from "./runtime/start-container.ts";
import { status } from "./runtime/status.ts";
import { stopContainer } from "./runtime/stop-container.ts";
import { stopPodSandbox } from "./runtime/stop-pod-sandbox.ts";
import { streamContainerStats } from "./runtime/stream-container-stats.ts";
import { streamContainers } from "./runtime/stream-containers.ts";
import { streamPodSandboxMetrics } from "./runtime/stream-pod-sandbox-metrics.ts";
import { streamPodSandboxStats } from "./runtime/stream-pod-sandbox-stats.ts";
import { streamPodSandboxes } from "./runtime/stream-pod-sandboxes.ts";
import { updateContainerResources } from "./runtime/update-container-resources.ts";
import { updatePodSandboxResources } from "./runtime/update-pod-sandbox-resources.ts";
import { updateRuntimeConfig } from "./runtime/update-runtime-config.ts";
import { version } from "./runtime/version.ts";
import type { RuntimeDeps } from "./runtime-deps.ts";
import type { WrapDeps } from "./wrap.ts";
import { wrapStream, wrapUnary } from "./wrap.ts";

type Methods = Record<keyof typeof definition, UntypedHandleCall>;

/** runtime.v1.RuntimeService, whole: the type has every RPC of the proto. */
export function runtimeService(deps: RuntimeDeps, wrap: WrapDeps): ServedService {
  const encoded = { responseSerialize: (bytes: Buffer): Buffer => bytes };
  const methods: Methods = {
    version: wrapUnary("version", version(), wrap),
    runPodSandbox: wrapUnary("runPodSandbox", runPodSandbox(deps), wrap),
    stopPodSandbox: wrapUnary("stopPodSandbox", stopPodSandbox(deps), wrap),
    removePodSandbox: wrapUnary("removePodSandbox", removePodSandbox(deps), wrap),
    podSandboxStatus: wrapUnary("podSandboxStatus", podSandboxStatus(deps), wrap),
    listPodSandbox: wrapUnary("listPodSandbox", listPodSandbox(deps), wrap),
    streamPodSandboxes: wrapStream("streamPodSandboxes", streamPodSandboxes(deps), wrap),
    createContainer: wrapUnary("createContainer", createContainer(deps), wrap),
    startContainer: wrapUnary("startContainer", startContainer(deps), wrap),
    stopContainer: wrapUnary("stopContainer", stopContainer(deps), wrap),
    removeContainer: wrapUnary("removeContainer", removeContainer(deps), wrap),
    listContainers: wrapUnary("listContainers", listContainers(deps), wrap),
    streamContainers: wrapStream("streamContainers", streamContainers(deps), wrap),
    containerStatus: wrapUnary("containerStatus", containerStatus(deps), wrap),
    updateContainerResources: wrapUnary("updateContainerResources", updateContainerResources(deps), wrap),
    reopenContainerLog: wrapUnary("reopenContainerLog", reopenContainerLog(deps), wrap),
    execSync: wrapUnary("execSync", execSync(deps), wrap),
    exec: wrapUnary("exec", exec(deps), wrap),
    attach: wrapUnary("attach", attach(deps), wrap),
    portForward: wrapUnary("portForward", portForward(deps), wrap),
    containerStats: wrapUnary("containerStats", containerStats(deps), wrap),
    listContainerStats: wrapUnary("listContainerStats", listContainerStats(deps), wrap),
    streamContainerStats: wrapStream("streamContainerStats", streamContainerStats(deps), wrap),
    podSandboxStats: wrapUnary("podSandboxStats", podSandboxStats(deps), wrap),
    listPodSandboxStats: wrapUnary("listPodSandboxStats", listPodSandboxStats(deps), wrap),
    streamPodSandboxStats: wrapStream("streamPodSandboxStats", streamPodSandboxStats(deps), wrap),
    updateRuntimeConfig: wrapUnary("updateRuntimeConfig", updateRuntimeConfig(deps), wrap),
    status: wrapUnary("status", status(deps), wrap),
    checkpointContainer: wrapUnary("checkpointContainer", checkpointContainer(), wrap),
    checkpointPod: wrapUnary("checkpointPod", checkpointPod(), wrap),
    restorePod: wrapUnary("restorePod", restorePod(), wrap),
    getContainerEvents: wrapStream("getContainerEvents", getContainerEvents(deps), wrap),
    listMetricDescriptors: wrapUnary("listMetricDescriptors", listMetricDescriptors(), wrap),
    listPodSandboxMetrics: wrapUnary("listPodSandboxMetrics", listPodSandboxMetrics(deps), wrap),
    streamPodSandboxMetrics: wrapStream("streamPodSandboxMetrics", streamPodSandboxMetrics(deps), wrap),
    runtimeConfig: wrapUnary("runtimeConfig", runtimeConfig(deps), wrap),
    updatePodSandboxResources: wrapUnary("updatePodSandboxResources", updatePodSandboxResources(deps), wrap),
  };
  return {
    // What a kubelet asks for all the time is answered with bytes that are kept.
    definition: {
      ...definition,
      listPodSandbox: { ...definition.listPodSandbox, ...encoded },
      listContainers: { ...definition.listContainers, ...encoded },
      listContainerStats: { ...definition.listContainerStats, ...encoded },
      containerStatus: { ...definition.containerStatus, ...encoded },
      podSandboxStatus: { ...definition.podSandboxStatus, ...encoded },
      streamPodSandboxes: { ...definition.streamPodSandboxes, ...encoded },
      streamContainers: { ...definition.streamContainers, ...encoded },
      streamContainerStats: { ...definition.streamContainerStats, ...encoded },
    },
    methods,
  };
}
