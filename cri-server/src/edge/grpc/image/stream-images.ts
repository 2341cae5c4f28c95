import type { StreamImagesRequest, StreamImagesResponse } from "../../../../../proto/gen/api.ts";
import { presentImage } from "../../../present/image.ts";
import { toImageFilter } from "../../../validate/image-ref.ts";
import type { StreamHandler } from "../handler.ts";
import type { ImageDeps } from "../image-deps.ts";
import { selectImages } from "./list-images.ts";

/** Few enough for one frame, many enough that messages cost nothing. */
const perMessage = 50;

export function streamImages({
  images,
}: ImageDeps): StreamHandler<StreamImagesRequest, StreamImagesResponse> {
  return async ({ filter }, send) => {
    const selected = selectImages(images, toImageFilter(filter?.image));
    for (let at = 0; at < selected.length; at += perMessage) {
      await send({ images: selected.slice(at, at + perMessage).map(presentImage) });
    }
  };
}
