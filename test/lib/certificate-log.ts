import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { ASN1Obj, pem, X509Certificate } from "@sigstore/core";

const octetString = 0x04;
const bitString = 0x03;
const sequence = 0x30;
/** The extension that receipts are kept in, 1.3.6.1.4.1.11129.2.4.2, as an element of DER. */
const receipts = Buffer.from("060a2b06010401d679020402", "hex");

function element(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const bytes = number(content.length, content.length < 0x100 ? 1 : 2);
  const length = content.length < 0x80 ? bytes : Buffer.concat([Buffer.from([0x80 | bytes.length]), bytes]);
  return Buffer.concat([Buffer.from([tag]), length, content]);
}

/** Big endian, in so many bytes. */
function number(value: number, bytes: number): Buffer {
  return Buffer.from(value.toString(16).padStart(bytes * 2, "0"), "hex");
}

/** A log of certificates (RFC 6962): what an authority tells it is in the certificate, with the log's receipt. */
export class CertificateLog {
  readonly #keys = generateKeyPairSync("ec", { namedCurve: "P-256" });

  get key(): string {
    return this.#keys.publicKey.export({ type: "spki", format: "pem" }).toString();
  }

  /** The certificate with a receipt, signed anew by its authority. */
  enter(certificate: string, authority: string, authorityKey: KeyObject): string {
    const { root, tbsCertificate, extensions } = X509Certificate.parse(certificate);
    const receipt = this.#receipt(tbsCertificate.toDER(), X509Certificate.parse(authority).publicKey);
    const list = Buffer.concat([number(receipt.length + 2, 2), number(receipt.length, 2), receipt]);
    const extension = element(sequence, receipts, element(octetString, element(octetString, list)));
    extensions.push(ASN1Obj.parseBuffer(Buffer.from(extension)));
    const body = tbsCertificate.toDER();
    const signature = sign("sha256", body, authorityKey);
    const algorithm = root.subs[1]?.toDER() ?? Buffer.alloc(0);
    return pem.fromDER(element(sequence, body, algorithm, element(bitString, Buffer.from([0]), signature)));
  }

  #receipt(body: Buffer, authorityKey: Buffer): Buffer {
    const time = number(Date.now(), 8);
    const noExtensions = number(0, 2);
    const entered = Buffer.concat([
      // Version 1, a certificate's receipt; an entry before it is issued.
      Buffer.from([0, 0]),
      time,
      number(1, 2),
      createHash("sha256").update(authorityKey).digest(),
      number(body.length, 3),
      body,
      noExtensions,
    ]);
    const signature = sign("sha256", entered, this.#keys.privateKey);
    const id = createHash("sha256")
      .update(this.#keys.publicKey.export({ type: "spki", format: "der" }))
      .digest();
    // SHA-256 and ECDSA.
    const algorithm = Buffer.from([4, 3]);
    return Buffer.concat([
      Buffer.from([0]),
      id,
      time,
      noExtensions,
      algorithm,
      number(signature.length, 2),
      signature,
    ]);
  }
}
