import type { ListPodSandboxRequest } from "../../../../../proto/gen/api.ts";
import { PodSandbox } from "../../../../../proto/gen/api.ts";
import { selectSandboxes } from "../../../domain/sandbox/list.ts";
import type { Sandbox } from "../../../model/sandbox.ts";
import { presentSandbox } from "../../../present/sandbox.ts";
import { toSandboxQuery } from "../../../validate/filters.ts";
import { EncodedItems } from "../encoded-items.ts";
import type { UnaryHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Rows as bytes. A record is replaced when it changes, so its bytes are good as long as it is. */
export const sandboxRows = new EncodedItems<Sandbox>((sandbox) =>
  PodSandbox.encode(presentSandbox(sandbox)).finish(),
);

/** Answers with the encoded ListPodSandboxResponse. */
export function listPodSandbox(
  deps: Pick<RuntimeDeps, "objects">,
): UnaryHandler<ListPodSandboxRequest, Buffer> {
  return async ({ filter }) => sandboxRows.concat(selectSandboxes(deps.objects, toSandboxQuery(filter)));
}
