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
  | { readonly kind: "signature"; readonly keys: readonly string[] }
  /** A signature by whoever has this identity. */
  | ({ readonly kind: "certificate" } & CertificateRequirement);

/** Keyless signing: short-lived certificates, and a log that has seen each signature. */
export interface CertificateRequirement {
  /** PEM, one or more. */
  readonly roots: string;
  /** Keys of transparency logs, PEM. */
  readonly logKeys: readonly string[];
  /** A URI or mail address, `*` for any characters. */
  readonly identity: string;
  /** Who vouches for the identity: the OpenID provider's URL. */
  readonly issuer: string;
}

/** The first rule that fits decides; without one the image is accepted. */
export interface ImagePolicy {
  /** As it is now. Rejects `signature-invalid` when it can't be read: then nothing may be pulled. */
  rules(): Promise<readonly PolicyRule[]>;
}
