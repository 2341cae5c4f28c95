import type { PodSandboxStatusRequest } from "../../../../../proto/gen/api.ts";
import { PodSandboxStatusResponse } from "../../../../../proto/gen/api.ts";
import type { Sandbox } from "../../../model/sandbox.ts";
import { presentSandboxStatus } from "../../../present/sandbox.ts";
import { sandboxInfo } from "../../../present/verbose.ts";
import { toId } from "../../../validate/ids.ts";
import { EncodedAnswer } from "../encoded-answer.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

function encode(sandbox: Sandbox, info: Record<string, string>): Uint8Array {
  return PodSandboxStatusResponse.encode({
    status: presentSandboxStatus(sandbox),
    info,
    // Both or neither. A kubelet with EventedPLEG that is given them takes the pod's containers from here alone and then
    // runs its init containers again and again (1.37: it looks for them in a list that only ContainerStatus fills,
    // kubernetes/kubernetes#133371). Without them it asks for each container, as it does without that gate.
    containersStatuses: [],
    timestamp: 0n,
  }).finish();
}

const answers = new EncodedAnswer<Sandbox>((sandbox) => encode(sandbox, {}));

/** Answers with the encoded PodSandboxStatusResponse. */
export function podSandboxStatus(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<PodSandboxStatusRequest, Buffer> {
  return async ({ podSandboxId, verbose }) => {
    const { sandbox } = deps.objects.pod(toId("pod_sandbox_id", podSandboxId));
    return verbose ? Buffer.from(encode(sandbox, sandboxInfo(sandbox))) : answers.of(sandbox);
  };
}
