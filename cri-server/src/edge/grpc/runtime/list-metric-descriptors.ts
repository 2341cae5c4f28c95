import type {
  ListMetricDescriptorsRequest,
  ListMetricDescriptorsResponse,
} from "../../../../../proto/gen/api.ts";
import { BerthError } from "../../../errors/berth-error.ts";
import type { UnaryHandler } from "../handler.ts";

export function listMetricDescriptors(): UnaryHandler<
  ListMetricDescriptorsRequest,
  ListMetricDescriptorsResponse
> {
  return async () => {
    throw new BerthError("unimplemented", "ListMetricDescriptors: not offered by this version");
  };
}
