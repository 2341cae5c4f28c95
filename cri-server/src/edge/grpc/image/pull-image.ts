import type { PullImageRequest, PullImageResponse } from "../../../../../proto/gen/api.ts";
import { toImageName, toPullAuth } from "../../../validate/image-ref.ts";
import type { UnaryHandler } from "../handler.ts";
import type { ImageDeps } from "../image-deps.ts";

export function pullImage({ images }: ImageDeps): UnaryHandler<PullImageRequest, PullImageResponse> {
  return async (request, { signal }) => {
    const reference = toImageName(request.image);
    const auth = toPullAuth(request.auth);
    const namespace = request.sandboxConfig?.metadata?.namespace ?? "";
    const image = await images.pull({ reference, auth, namespace }, signal);
    return { imageRef: image.id };
  };
}
