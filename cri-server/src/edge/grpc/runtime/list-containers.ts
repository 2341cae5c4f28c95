import type { ListContainersRequest } from "../../../../../proto/gen/api.ts";
import { Container as ContainerMessage } from "../../../../../proto/gen/api.ts";
import { selectContainers } from "../../../domain/container/list.ts";
import type { Container } from "../../../model/container.ts";
import { presentContainer } from "../../../present/container.ts";
import { toContainerQuery } from "../../../validate/filters.ts";
import { EncodedItems } from "../encoded-items.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** See sandboxRows. */
export const containerRows = new EncodedItems<Container>((container) =>
  ContainerMessage.encode(presentContainer(container)).finish(),
);

/** Answers with the encoded ListContainersResponse. */
export function listContainers(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<ListContainersRequest, Buffer> {
  return async ({ filter }) =>
    containerRows.concat(
      selectContainers(deps.objects, toContainerQuery(filter)).map((entry) => entry.container),
    );
}
