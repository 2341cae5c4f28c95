import type { RemoveImageRequest, RemoveImageResponse } from "../../../../../proto/gen/api.ts";
import { toImageName } from "../../../validate/image-ref.ts";
import type { UnaryHandler } from "../handler.ts";
import type { ImageDeps } from "../image-deps.ts";

export function removeImage({ images }: ImageDeps): UnaryHandler<RemoveImageRequest, RemoveImageResponse> {
  return async ({ image }) => {
    await images.remove(toImageName(image));
    return {};
  };
}
