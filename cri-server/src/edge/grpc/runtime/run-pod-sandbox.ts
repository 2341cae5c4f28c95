import type { RunPodSandboxRequest, RunPodSandboxResponse } from "../../../../../proto/gen/api.ts";
import { runSandbox } from "../../../domain/sandbox/run.ts";
import { toSandboxConfig } from "../../../validate/sandbox-config.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

export function runPodSandbox(deps: RuntimeDeps): UnaryHandler<RunPodSandboxRequest, RunPodSandboxResponse> {
  return async ({ config, runtimeHandler }, caller) => ({
    podSandboxId: await runSandbox(deps, toSandboxConfig(config, runtimeHandler), caller),
  });
}
