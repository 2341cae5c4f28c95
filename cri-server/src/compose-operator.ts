import { join } from "node:path";
import type { Plugin } from "../../cni-plugin/src/resident/handle.ts";
import type { Config } from "./config/config.ts";
import type { LifecycleDeps } from "./domain/deps.ts";
import type { ExplainDeps } from "./domain/explain/deps.ts";
import type { FsckDeps } from "./domain/fsck/defect.ts";
import { startAdminServer } from "./edge/admin/listen.ts";
import type { Metrics } from "./edge/metrics/listen.ts";
import { createInspection } from "./effects/kernel/process-facts.ts";
import { createUpkeep } from "./effects/kernel/state-upkeep.ts";
import type { ImageAdmin } from "./ports/image-admin.ts";
import type { Images } from "./ports/images.ts";

/** What operators and their tools ask: the `berth` command, and metrics where they are wanted. */
export async function serveOperator(
  config: Pick<Config, "state" | "netnsDir" | "metrics">,
  deps: OperatorParts,
  plugin: Plugin,
  metrics: Metrics | undefined,
): Promise<{ close(): Promise<void> }> {
  const { images, log } = deps;
  const { address } = config.metrics;
  const counting = address === undefined ? undefined : await metrics?.serve(address, deps, log);
  const operator = await composeOperator(config, deps, plugin);
  const admin = await startAdminServer(join(config.state, "admin.sock"), { images, operator, log });
  return {
    close: async () => {
      await Promise.all([counting?.close(), admin.close()]);
    },
  };
}

type OperatorParts = LifecycleDeps & { readonly images: Images & ImageAdmin };

/** Wires what the `berth` command asks about pods. */
async function composeOperator(
  config: Pick<Config, "state" | "netnsDir">,
  deps: OperatorParts,
  plugin: Plugin,
): Promise<ExplainDeps & FsckDeps> {
  return {
    ...deps,
    inspection: await createInspection({
      network: async (netnsPath) => await plugin.inspect(netnsPath),
      hostPorts: async (sandboxId) => await plugin.hostPorts(sandboxId),
    }),
    upkeep: createUpkeep({
      ...config,
      owned: async () => {
        const { links, hostPorts } = await plugin.owned();
        return {
          links: links.map(({ containerId, ...link }) => ({ ...link, sandboxId: containerId })),
          hostPorts: hostPorts.map(({ containerId, ...port }) => ({ ...port, sandboxId: containerId })),
        };
      },
    }),
  };
}
