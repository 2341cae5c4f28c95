import type { Config } from "../../config/config.ts";
import type { LifecycleDeps } from "../../domain/deps.ts";
import type { HostUsage } from "../../ports/host-usage.ts";
import type { LayerUsageSource } from "../../ports/layer-usage.ts";
import type { StreamTargets } from "../../ports/stream-targets.ts";
import type { StreamUrls } from "../stream/urls.ts";

/** What the runtime service's handlers are made of; each takes the part that it uses. */
export interface RuntimeDeps extends LifecycleDeps {
  readonly config: Config;
  readonly layers: LayerUsageSource;
  readonly usage: HostUsage;
  readonly streams: StreamUrls;
  readonly targets: StreamTargets;
}
