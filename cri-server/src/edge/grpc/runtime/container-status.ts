import type { ContainerStatusRequest } from "../../../../../proto/gen/api.ts";
import { ContainerStatusResponse } from "../../../../../proto/gen/api.ts";
import type { Container } from "../../../model/container.ts";
import { presentContainerStatus } from "../../../present/container.ts";
import { containerInfo } from "../../../present/verbose.ts";
import { toId } from "../../../validate/ids.ts";
import { EncodedAnswer } from "../encoded-answer.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

const answers = new EncodedAnswer<Container>((container) =>
  ContainerStatusResponse.encode({ status: presentContainerStatus(container), info: {} }).finish(),
);

/** Answers with the encoded ContainerStatusResponse: looking after logs, the kubelet asks for each container every ten seconds. */
export function containerStatus(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<ContainerStatusRequest, Buffer> {
  return async ({ containerId, verbose }) => {
    const { container } = deps.objects.container(toId("container_id", containerId));
    if (!verbose) return answers.of(container);
    const status = presentContainerStatus(container);
    return Buffer.from(ContainerStatusResponse.encode({ status, info: containerInfo(container) }).finish());
  };
}
