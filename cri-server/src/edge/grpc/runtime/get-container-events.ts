import type { ContainerEventResponse, GetEventsRequest } from "../../../../../proto/gen/api.ts";
import { presentEvent } from "../../../present/events.ts";
import type { StreamHandler } from "../handler.ts";
import type { RuntimeDeps } from "../runtime-deps.ts";

/** Sends events until the client goes. A client that is too slow loses the oldest; nothing ever waits for it. */
export function getContainerEvents(
  deps: Pick<RuntimeDeps, "events">,
): StreamHandler<GetEventsRequest, ContainerEventResponse> {
  return async (_request, send, { signal, log }) => {
    const subscription = deps.events.subscribe();
    signal.addEventListener("abort", () => subscription.close(), { once: true });
    try {
      for (let taken = await subscription.take(); taken !== undefined; taken = await subscription.take()) {
        if (taken.dropped > 0) {
          log.warn({ dropped: taken.dropped }, "a slow subscriber has missed events");
        }
        for (const event of taken.items) {
          await send(presentEvent(event));
        }
      }
    } finally {
      subscription.close();
    }
  };
}
