import { generateKeyPairSync } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { signatureProblem } from "../../cri-server/src/domain/image/signature.ts";
import type { CertificateRequirement } from "../../cri-server/src/ports/image-policy.ts";
import { type SecondBundle, SecondLog } from "../lib/second-log.ts";
import { provider, SigningAuthority, workflow, workflowIdentity } from "../lib/signing-authority.ts";
import { TimestampAuthority } from "../lib/timestamp-authority.ts";

// Bundles of a log that tells no time: a time stamp has to.

const authority = new SigningAuthority();
const stamps = new TimestampAuthority();
const otherStamps = new TimestampAuthority();
const log = new SecondLog();
afterAll(() => {
  for (const one of [authority, stamps, otherStamps]) one[Symbol.dispose]();
});

const document = Buffer.from('{"subject":[]}');
const required: CertificateRequirement = {
  kind: "certificate",
  roots: authority.root,
  logKeys: [authority.logKey, log.key],
  ctLogKeys: [],
  timestampAuthorities: [otherStamps.chain, stamps.chain],
  identity: workflow,
  issuer: provider,
};

interface Options extends SecondBundle {
  readonly isUnstamped?: boolean;
}

function verdict(
  { isUnstamped = false, ...options }: Options = {},
  changes: Partial<CertificateRequirement> = {},
): string | undefined {
  const { certificate, key } = authority.issue(workflowIdentity);
  const stamp = (signature: Buffer): string => stamps.stamp(signature);
  const stamped = isUnstamped ? {} : { stamp };
  const bundle = log.bundle(document, key, { certificate, ...stamped, ...options });
  const whole = { payload: "", signature: "", certificate: "", chain: "", bundle };
  return signatureProblem(whole, { ...required, ...changes });
}

describe("a signature with a time stamp", () => {
  it("is good, by certificate and by key", () => {
    expect(verdict()).toBeUndefined();
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const bundle = log.bundle(document, privateKey, {});
    const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
    expect(
      signatureProblem(
        { payload: "", signature: "", certificate: "", chain: "", bundle },
        { kind: "signature", keys: [pem], logKeys: [log.key] },
      ),
    ).toBeUndefined();
  });

  it.each<[string, () => string | undefined, RegExp]>([
    ["that is not there", () => verdict({ isUnstamped: true }), /or time stamp: expected 1/],
    [
      "of an authority that the policy does not know",
      () => verdict({}, { timestampAuthorities: [otherStamps.chain] }),
      /or time stamp/,
    ],
    [
      "that the policy asks nobody about",
      () => verdict({}, { timestampAuthorities: [] }),
      /or time stamp: expected 1/,
    ],
    [
      "of another signature",
      () => verdict({ stamp: () => stamps.stamp(Buffer.from("another")) }),
      /or time stamp/,
    ],
    ["that is damaged", () => verdict({ stamp: () => "AAAA" }), /can't be read/],
    [
      "in a log that the policy does not know",
      () => verdict({}, { logKeys: [authority.logKey] }),
      /no valid receipt.*checkpoint/,
    ],
    ["in a log of another name", () => verdict({ name: "evil.test" }), /no valid receipt.*checkpoint/],
    ["whose record is of another key", () => verdict({ by: Buffer.from("another") }), /for another key/],
  ])("is refused with one %s", (_, problem, message) => {
    expect(problem()).toMatch(message);
  });
});
