import type { Logger } from "../../ports/logger.ts";
import type { PodNetwork } from "../../ports/network.ts";

/** What a crashed plugin or a lost DEL has left is worth a look now and then, not more: GC stops every ADD meanwhile. */
const everyMs = 10 * 60_000;

/** Has the network freed what belongs to no sandbox, periodically. Gives the function that ends it. */
export function sweepPeriodically(
  network: Pick<PodNetwork, "collect">,
  liveSandboxIds: () => readonly string[],
  log: Logger,
): () => void {
  const timer = setInterval(() => {
    network.collect(liveSandboxIds()).catch((error: unknown) => {
      log.warn({ err: error }, "CNI garbage collection failed; it is tried again later");
    });
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
