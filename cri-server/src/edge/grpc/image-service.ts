import type { UntypedHandleCall } from "@grpc/grpc-js";
import { ImageServiceService as definition } from "../../../../proto/gen/api.ts";
import { imageFsInfo } from "./image/image-fs-info.ts";
import { imageStatus } from "./image/image-status.ts";
import { listImages } from "./image/list-images.ts";
import { pullImage } from "./image/pull-image.ts";
import { removeImage } from "./image/remove-image.ts";
import { streamImages } from "./image/stream-images.ts";
import type { ImageDeps } from "./image-deps.ts";
import type { ServedService } from "./listen.ts";
import type { WrapDeps } from "./wrap.ts";
import { wrapStream, wrapUnary } from "./wrap.ts";

/** runtime.v1.ImageService, whole: the type has every RPC of the proto. */
export function imageService(deps: ImageDeps, wrap: WrapDeps): ServedService {
  const methods: Record<keyof typeof definition, UntypedHandleCall> = {
    listImages: wrapUnary("listImages", listImages(deps), wrap),
    streamImages: wrapStream("streamImages", streamImages(deps), wrap),
    imageStatus: wrapUnary("imageStatus", imageStatus(deps), wrap),
    pullImage: wrapUnary("pullImage", pullImage(deps), wrap),
    removeImage: wrapUnary("removeImage", removeImage(deps), wrap),
    imageFsInfo: wrapUnary("imageFsInfo", imageFsInfo(deps), wrap),
  };
  return { definition, methods };
}
