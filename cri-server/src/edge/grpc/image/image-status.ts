import type { ImageStatusRequest, ImageStatusResponse } from "../../../../../proto/gen/api.ts";
import { imageInfo, presentImage } from "../../../present/image.ts";
import { toImageName } from "../../../validate/image-ref.ts";
import type { UnaryHandler } from "../handler.ts";
import type { ImageDeps } from "../image-deps.ts";

/** A missing image is an answer without one: the kubelet asks so whether it has to pull. */
export function imageStatus({ images }: ImageDeps): UnaryHandler<ImageStatusRequest, ImageStatusResponse> {
  return async ({ image: spec, verbose }) => {
    const image = images.find(toImageName(spec));
    if (image === undefined) {
      return { image: undefined, info: {} };
    }
    return { image: presentImage(image), info: verbose ? imageInfo(image) : {} };
  };
}
