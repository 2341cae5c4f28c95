import { createHash } from "node:crypto";

/** A transparency log that signs its head. */
export interface LogSigner {
  readonly name: string;
  readonly id: Buffer;
  sign(note: Buffer): Buffer;
}

/** The inclusion proof of a log that has this entry alone (RFC 6962, 2.1), with its head as a signed note. */
export function proofOfOnly(body: Buffer, { name, id, sign }: LogSigner): object {
  const rootHash = createHash("sha256")
    .update(Buffer.from([0]))
    .update(body)
    .digest("base64");
  const note = `${name}\n1\n${rootHash}\n`;
  const signed = Buffer.concat([id.subarray(0, 4), sign(Buffer.from(note))]);
  const envelope = `${note}\n\u2014 ${name} ${signed.toString("base64")}\n`;
  return { logIndex: "0", rootHash, treeSize: "1", hashes: [], checkpoint: { envelope } };
}
