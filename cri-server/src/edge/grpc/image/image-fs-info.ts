import type { ImageFsInfoRequest, ImageFsInfoResponse } from "../../../../../proto/gen/api.ts";
import { presentUsage } from "../../../present/image.ts";
import type { UnaryHandler } from "../handler.ts";
import type { ImageDeps } from "../image-deps.ts";

/** Containers write beside the images: one file system is both. */
export function imageFsInfo({ images }: ImageDeps): UnaryHandler<ImageFsInfoRequest, ImageFsInfoResponse> {
  return async () => {
    const usage = presentUsage(await images.usage());
    return { imageFilesystems: [usage], containerFilesystems: [usage] };
  };
}
