/** What the CNI chain made of one attachment. */
export interface NetworkAttachment {
  /** Addresses without prefix length, primary (first IPv4 unless configured) first; never empty. */
  readonly ips: readonly string[];
}

export type NetworkStatus =
  | { readonly ready: true }
  | { readonly ready: false; readonly reason: string; readonly message: string };
