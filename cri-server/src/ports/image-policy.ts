/** What has to be true of an image before it is pulled. */
export interface PolicyRule {
  /** Repository names without tag, `*` for any characters. */
  readonly images: readonly string[];
  /** Of the pods that the image is for; empty: all. */
  readonly namespaces: readonly string[];
  readonly require: PolicyRequirement;
}

export type PolicyRequirement =
  | { readonly kind: "nothing" }
  | { readonly kind: "reject" }
  /** A signature by one of these keys (PEM). */
  | { readonly kind: "signature"; readonly keys: readonly string[] };

/** The first rule that fits decides; without one the image is accepted. */
export interface ImagePolicy {
  /** As it is now. Rejects `signature-invalid` when it can't be read: then nothing may be pulled. */
  rules(): Promise<readonly PolicyRule[]>;
}
