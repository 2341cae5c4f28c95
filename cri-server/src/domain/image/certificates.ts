import { X509Certificate } from "node:crypto";

/** PEM, any number; throws on a certificate that can't be read. */
export function certificatesOf(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** Chains of a signature end in one of these: the verifier takes no others. */
export function isRoot(certificate: X509Certificate): boolean {
  return certificate.ca && isIssued(certificate, certificate);
}

/** A root and those among others that it stands behind, be it through others of them. */
export function withIssued(
  root: X509Certificate,
  others: readonly X509Certificate[],
): readonly X509Certificate[] {
  const found = [root];
  // Grows while it is walked.
  for (const by of found) {
    found.push(...others.filter((one) => !found.includes(one) && isIssued(one, by)));
  }
  return found;
}

function isIssued(one: X509Certificate, by: X509Certificate): boolean {
  return one.checkIssued(by) && one.verify(by.publicKey);
}
