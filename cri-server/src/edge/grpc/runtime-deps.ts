import type { LifecycleDeps } from "../../domain/deps.ts";
import type { LayerUsageSource } from "../../ports/layer-usage.ts";

/** What the runtime service's handlers are made of; each takes the part that it uses. */
export interface RuntimeDeps extends LifecycleDeps {
  readonly layers: LayerUsageSource;
}
