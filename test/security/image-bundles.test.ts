import { generateKeyPairSync } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { signatureProblem } from "../../cri-server/src/domain/image/signature.ts";
import type { CheckedSignature } from "../../cri-server/src/domain/image/signature-form.ts";
import type { CertificateRequirement } from "../../cri-server/src/ports/image-policy.ts";
import {
  workflowIdentity as good,
  type Identity,
  provider,
  SigningAuthority,
  workflow,
} from "../lib/signing-authority.ts";

const payload = Buffer.from('{"subject":[]}');

const authority = new SigningAuthority();
const stranger = new SigningAuthority();
afterAll(() => {
  for (const one of [authority, stranger]) one[Symbol.dispose]();
});

const now = (): number => Math.floor(Date.now() / 1000);

/** As far as it is changed here. */
interface Bundle {
  verificationMaterial: { tlogEntries: [{ integratedTime: string; inclusionProof: object }] };
  dsseEnvelope: { payload: string; payloadType: string };
}

/** The bundle with something else in it. */
function changed(bundle: string, change: (one: Bundle) => Partial<Bundle>): string {
  const copy = JSON.parse(bundle);
  return JSON.stringify({ ...copy, ...change(copy) });
}

/** The bundle with something else in its log's entry. */
function withEntry(bundle: string, other: object): string {
  return changed(bundle, ({ verificationMaterial }) => ({
    verificationMaterial: {
      ...verificationMaterial,
      tlogEntries: [{ ...verificationMaterial.tlogEntries[0], ...other }],
    },
  }));
}

function proofOf(bundle: string): object {
  return (JSON.parse(bundle) as Bundle).verificationMaterial.tlogEntries[0].inclusionProof;
}

describe("a bundle", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const whole = (bundle: string): CheckedSignature => ({
    payload: "",
    signature: "",
    certificate: "",
    chain: "",
    bundle,
  });
  const required: CertificateRequirement = {
    kind: "certificate",
    roots: authority.root,
    logKeys: [authority.logKey],
    ctLogKeys: [authority.certificateLog.key],
    timestampAuthorities: [],
    identity: workflow,
    issuer: provider,
  };
  const certified = (options: object = {}, from = authority, identity: Partial<Identity> = {}): string => {
    const { certificate, key } = from.issue({ ...good, logged: true, ...identity });
    return authority.bundle(payload, key, { certificate, ...options });
  };
  it("is good when all agrees", () => {
    expect(signatureProblem(whole(certified()), required)).toBeUndefined();
    const keyed = whole(authority.bundle(payload, privateKey, {}));
    expect(
      signatureProblem(keyed, { kind: "signature", keys: [pem], logKeys: [authority.logKey] }),
    ).toBeUndefined();
    expect(signatureProblem(keyed, { kind: "signature", keys: [pem], logKeys: [] })).toBeUndefined();
  });

  it.each<[string, () => string, RegExp]>([
    ["of another root", () => certified({}, stranger), /no root of the policy/],
    [
      "of another identity",
      () => certified({}, authority, { name: "URI:https://evil.example/" }),
      /is by https:\/\/evil/,
    ],
    ["whose certificate had expired", () => certified({ seconds: now() + 3 * 86_400 }), /was not valid/],
    ["without a receipt", () => certified({ unlogged: true }), /no valid receipt/],
    ["with a receipt for another key", () => certified({ by: pem }), /for another key/],
    [
      "with another document",
      () =>
        changed(certified(), ({ dsseEnvelope }) => ({
          dsseEnvelope: { ...dsseEnvelope, payload: Buffer.from("{}").toString("base64") },
        })),
      /no valid receipt.*hash mismatch/,
    ],
    [
      "with another type of document",
      () =>
        changed(certified(), ({ dsseEnvelope }) => ({
          dsseEnvelope: { ...dsseEnvelope, payloadType: "text/plain" },
        })),
      /not by its certificate/,
    ],
    [
      "with another time",
      () => withEntry(certified(), { integratedTime: String(now() + 1) }),
      /no valid receipt.*promise/,
    ],
    [
      "with a proof of another entry",
      () => withEntry(certified(), { inclusionProof: proofOf(certified()) }),
      /no valid receipt.*root hash/,
    ],
    [
      "with a proof that another log has signed",
      () => {
        const { key, certificate } = authority.issue({ ...good, logged: true });
        return withEntry(authority.bundle(payload, key, { certificate }), {
          inclusionProof: proofOf(stranger.bundle(payload, key, { certificate })),
        });
      },
      /no valid receipt.*checkpoint/,
    ],
    ["by a key", () => authority.bundle(payload, privateKey, {}), /there is no certificate/],
    ["that is none", () => "{}", /can't be read/],
    [
      "of bytes that don't say whose they are",
      () =>
        JSON.stringify({
          ...JSON.parse(certified()),
          dsseEnvelope: undefined,
          messageSignature: { messageDigest: { algorithm: "SHA2_256", digest: "eA==" }, signature: "eA==" },
        }),
      /no envelope/,
    ],
  ])("is refused %s", (_, bundle, message) => {
    expect(signatureProblem(whole(bundle()), required)).toMatch(message);
  });

  it("is refused by another key, or with the receipt of another log", () => {
    const [keyed, unlogged] = [{}, { unlogged: true }].map((options) =>
      whole(authority.bundle(payload, privateKey, options)),
    );
    if (keyed === undefined || unlogged === undefined) throw new Error("no bundles");
    const others = generateKeyPairSync("ed25519")
      .publicKey.export({ type: "spki", format: "pem" })
      .toString();
    const problem = (signed: CheckedSignature, keys: string[], logKeys: string[]) =>
      signatureProblem(signed, { kind: "signature", keys, logKeys });
    expect(problem(keyed, [others], [])).toBe("no signature is by a key of the policy");
    expect(problem(keyed, [pem], [stranger.logKey])).toMatch(/no valid receipt/);
    expect(problem(unlogged, [pem], [authority.logKey])).toMatch(/no valid receipt/);
    expect(problem(unlogged, [others, pem], [])).toBeUndefined();
  });
});
