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
  | KeyRequirement
  | CertificateRequirement;

/** A signature by one of these keys. */
export interface KeyRequirement {
  readonly kind: "signature";
  /** PEM */
  readonly keys: readonly string[];
  /** Keys of transparency logs, PEM: one of them has to have seen the signature; none: no log is asked for. */
  readonly logKeys: readonly string[];
}

/** A signature by whoever has this identity. Keyless signing: short-lived certificates, and a log that has seen each signature. */
export interface CertificateRequirement {
  readonly kind: "certificate";
  /** PEM, one or more, with intermediates or without. */
  readonly roots: string;
  /** Keys of transparency logs, PEM. */
  readonly logKeys: readonly string[];
  /** Keys of certificate transparency logs, PEM: one of them has to have seen the certificate; none: no log is asked for. */
  readonly ctLogKeys: readonly string[];
  /** Each the certificates of a time-stamp authority, PEM, its signer's first; none: only logs say when a signature was made. */
  readonly timestampAuthorities: readonly string[];
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
