import type { FilesystemUsage, Image as ImageMessage } from "../../../proto/gen/api.ts";
import type { Image } from "../model/image.ts";
import type { StoreUsage } from "../ports/images.ts";

/** One image as lists and statuses show it. */
export function presentImage(image: Image): ImageMessage {
  const user = presentUser(image.config.user);
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: image.size,
    uid: user.uid,
    username: user.username,
    spec: { image: image.id, annotations: {}, userSpecifiedImage: "", runtimeHandler: "", imageRef: "" },
    pinned: image.pinned,
  };
}

/** config.User without its group: a number as uid, else a name, never both. Neither means root to every client. */
export function presentUser(user: string): { uid: { value: bigint } | undefined; username: string } {
  const name = user.split(":", 1)[0] ?? "";
  if (name === "") {
    return { uid: undefined, username: "" };
  }
  return /^\d{1,18}$/.test(name)
    ? { uid: { value: BigInt(name) }, username: "" }
    : { uid: undefined, username: name };
}

/** The `info` map of a verbose ImageStatus: one JSON document. */
export function imageInfo(image: Image): Record<string, string> {
  const { config, diffIds, size, ...rest } = image;
  return {
    info: JSON.stringify({ ...rest, size: size.toString(), rootfs: { type: "layers", diffIds }, config }),
  };
}

export function presentUsage(usage: StoreUsage): FilesystemUsage {
  return {
    timestamp: usage.timestamp,
    fsId: { mountpoint: usage.mountpoint },
    usedBytes: { value: usage.usedBytes },
    inodesUsed: { value: usage.usedInodes },
  };
}
