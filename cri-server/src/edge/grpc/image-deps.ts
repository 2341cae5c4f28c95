import type { Images } from "../../ports/images.ts";

/** What the image RPCs need. */
export interface ImageDeps {
  readonly images: Images;
}
