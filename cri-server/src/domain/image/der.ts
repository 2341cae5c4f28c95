/** One element of DER (X.690): its tag and what is in it. */
export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
}

/** The elements of a constructed value, one after the other. Throws on what is no DER. */
export function derChildren(bytes: Buffer): readonly DerElement[] {
  const elements: DerElement[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    let length = bytes[at + 1] ?? 0;
    at += 2;
    if (length > 0x80) {
      const count = length & 0x7f;
      if (count > 4 || at + count > bytes.length) {
        throw new Error("a length of DER is too long");
      }
      length = bytes.readUIntBE(at, count);
      at += count;
    }
    if (at + length > bytes.length) {
      throw new Error("an element of DER is cut short");
    }
    elements.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return elements;
}

const sequence = 0x30;
const objectIdentifier = 0x06;
const octetString = 0x04;
const extensionsTag = 0xa3;

/** The value of a certificate's extension (RFC 5280, 4.1), by the encoded object identifier. */
export function certificateExtension(certificate: Buffer, identifier: Buffer): Buffer | undefined {
  const [outer] = derChildren(certificate);
  const [body] = outer?.tag === sequence ? derChildren(outer.content) : [];
  const wrapped =
    body === undefined ? undefined : derChildren(body.content).find(({ tag }) => tag === extensionsTag);
  const [list] = wrapped === undefined ? [] : derChildren(wrapped.content);
  for (const extension of list === undefined ? [] : derChildren(list.content)) {
    const [id, ...rest] = derChildren(extension.content);
    if (id?.tag === objectIdentifier && id.content.equals(identifier)) {
      return rest.find(({ tag }) => tag === octetString)?.content;
    }
  }
  return undefined;
}
