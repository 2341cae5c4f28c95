import { pem } from "@sigstore/core";
import { Entry, type Verifier } from "@sigstore/protobuf-specs/rekor/v2";

/** What Rekor 1 writes of a message (hashedrekord) or an envelope (dsse); keys are PEM in base64. */
interface FirstRecord {
  readonly apiVersion?: string;
  readonly spec?: {
    readonly signature?: { readonly publicKey?: { readonly content?: string } };
    readonly signatures?: readonly { readonly verifier?: string }[];
  };
}

/** DER: the key or certificate that a log's record says a signature is by; empty where it names none. */
export function keyIn(body: Buffer): Buffer {
  const record = JSON.parse(body.toString("utf8")) as FirstRecord;
  if (record.apiVersion !== "0.0.1") {
    return ofSecond(Entry.fromJSON(record));
  }
  const { spec } = record;
  const content = spec?.signature?.publicKey?.content ?? spec?.signatures?.[0]?.verifier ?? "";
  return pem.toDER(Buffer.from(content, "base64").toString("utf8"));
}

/** Rekor 2's records are rekor/v2/entry.proto in JSON. */
function ofSecond({ spec }: Entry): Buffer {
  switch (spec?.spec?.$case) {
    case "hashedRekordV002":
      return bytesOf(spec.spec.hashedRekordV002.signature?.verifier);
    case "dsseV002":
      return bytesOf(spec.spec.dsseV002.signatures[0]?.verifier);
    default:
      return Buffer.alloc(0);
  }
}

function bytesOf(by: Verifier | undefined): Buffer {
  switch (by?.verifier?.$case) {
    case "publicKey":
      return by.verifier.publicKey.rawBytes;
    case "x509Certificate":
      return by.verifier.x509Certificate.rawBytes;
    default:
      return Buffer.alloc(0);
  }
}
