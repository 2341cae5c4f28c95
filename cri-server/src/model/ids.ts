/** Names of the things that Berth keeps. All are opaque, lower-case hexadecimal, made by us, and safe as one path part. */

/** A pod sandbox's id: 64 hexadecimal digits, as every CRI client expects to be able to shorten. */
export type SandboxId = string & { readonly brand: "SandboxId" };

/** A container's id: 64 hexadecimal digits. */
export type ContainerId = string & { readonly brand: "ContainerId" };

/** `sha256:<64 hex>`: the digest of an image's config blob. PullImage.image_ref, Image.id and image_id are this one value. */
export type ImageId = string & { readonly brand: "ImageId" };

/** `sha256:<64 hex>` of any blob or of an uncompressed layer (diff ID). */
export type Digest = `sha256:${string}`;
