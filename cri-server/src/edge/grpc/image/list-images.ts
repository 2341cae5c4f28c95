import type { ListImagesRequest, ListImagesResponse } from "../../../../../proto/gen/api.ts";
import type { Image } from "../../../model/image.ts";
import type { Images } from "../../../ports/images.ts";
import { presentImage } from "../../../present/image.ts";
import { toImageFilter } from "../../../validate/image-ref.ts";
import type { UnaryHandler } from "../handler.ts";
import type { ImageDeps } from "../image-deps.ts";

/** All images, or the one that the filter names. */
export function selectImages(images: Images, filter: string | undefined): readonly Image[] {
  if (filter === undefined) {
    return images.list();
  }
  const image = images.find(filter);
  return image === undefined ? [] : [image];
}

export function listImages({ images }: ImageDeps): UnaryHandler<ListImagesRequest, ListImagesResponse> {
  return async ({ filter }) => ({
    images: selectImages(images, toImageFilter(filter?.image)).map(presentImage),
  });
}
