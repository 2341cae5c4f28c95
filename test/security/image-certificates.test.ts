import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { signatureProblem } from "../../cri-server/src/domain/image/signature.ts";
import type { CheckedSignature } from "../../cri-server/src/domain/image/signature-form.ts";
import type { CertificateRequirement } from "../../cri-server/src/ports/image-policy.ts";
import {
  workflowIdentity as good,
  type Identity,
  type Leaf,
  provider,
  SigningAuthority,
  workflow,
} from "../lib/signing-authority.ts";

const payload = Buffer.from('{"critical":{}}');

const authority = new SigningAuthority();
const stranger = new SigningAuthority();
const shallow = new SigningAuthority("CA:TRUE,pathlen:0");
afterAll(() => {
  for (const one of [authority, stranger, shallow]) one[Symbol.dispose]();
});

interface Changes {
  readonly identity?: Partial<Identity>;
  readonly leaf?: (identity: Identity) => Leaf;
  readonly seconds?: number;
  readonly kind?: string;
  /** What the log says that the signature is by. */
  readonly by?: (leaf: Leaf) => string;
  readonly other?: (parts: CheckedSignature) => Partial<CheckedSignature>;
  readonly required?: Partial<CertificateRequirement>;
}

/** What is wrong with a good signature after some changes. */
function verdict(changes: Changes = {}): string | undefined {
  const identity = { ...good, ...changes.identity };
  const leaf = changes.leaf?.(identity) ?? authority.issue(identity);
  const signature = sign("sha256", payload, leaf.key).toString("base64");
  const { seconds, kind } = changes;
  const bundle = authority.receipt(payload, signature, {
    by: changes.by?.(leaf) ?? leaf.certificate,
    ...(seconds === undefined ? {} : { seconds }),
    ...(kind === undefined ? {} : { kind }),
  });
  const parts = {
    payload: payload.toString("base64"),
    signature,
    certificate: leaf.certificate,
    chain: "",
    bundle,
  };
  return signatureProblem(
    { ...parts, ...changes.other?.(parts) },
    {
      kind: "certificate",
      roots: authority.root,
      logKeys: [authority.logKey],
      ctLogKeys: [],
      timestampAuthorities: [],
      identity: "https://github.com/team/app/*",
      issuer: provider,
      ...changes.required,
    },
  );
}

/** The receipt with something else in it. */
function changed(
  bundle: string,
  change: (entry: Record<string, unknown>) => object,
): Partial<CheckedSignature> {
  const { Payload, SignedEntryTimestamp } = JSON.parse(bundle);
  return { bundle: JSON.stringify({ SignedEntryTimestamp, Payload: { ...Payload, ...change(Payload) } }) };
}

const now = (): number => Math.floor(Date.now() / 1000);

describe("a signature with a certificate", () => {
  const middle = authority.intermediate();
  const middleLeaf = (identity: Identity): Leaf => authority.issue({ ...identity, by: middle });

  it("is good when root, identity, provider, log and time agree", () => {
    expect(verdict()).toBeUndefined();
    expect(
      verdict({ identity: { name: "email:dev@example.org" }, required: { identity: "dev@example.org" } }),
    ).toBeUndefined();
  });

  it.each<[string, Changes]>([
    ["one name of two that fits", { identity: { name: `URI:https://else.example/;URI:${workflow}` } }],
    [
      "an intermediate beside the signature",
      { leaf: middleLeaf, other: () => ({ chain: middle.certificate + authority.root }) },
    ],
    [
      "an intermediate of the policy",
      { leaf: middleLeaf, required: { roots: middle.certificate + authority.root } },
    ],
    ["its root among others", { required: { roots: stranger.root + authority.root } }],
    ["its log among others", { required: { logKeys: [stranger.logKey, authority.logKey] } }],
    ["a receipt of a log of certificates that nobody asks for", { identity: { logged: true } }],
    [
      "a receipt of a log of certificates that the policy names",
      { identity: { logged: true }, required: { ctLogKeys: [authority.certificateLog.key] } },
    ],
  ])("is good with %s", (_, changes) => {
    expect(verdict(changes)).toBeUndefined();
  });

  it.each<[string, Changes, RegExp]>([
    [
      "another identity",
      { identity: { name: "URI:https://github.com/else/app/x" } },
      /is by https:\/\/github.com\/else.*, not by https:\/\/github.com\/team\/app\/\*/,
    ],
    [
      "another provider",
      { identity: { issuer: "https://evil.example" } },
      /vouched for by https:\/\/evil.example, not by https:\/\/token/,
    ],
    [
      "a name that looks like two",
      { identity: { name: "URI:https://evil.example/, URI:https://github.com/team/app/x" } },
      /is by https:\/\/evil/,
    ],
    [
      // "https://github.com/team/app/", the last letter with its top bit set: 7-bit readers take it for a slash.
      "a name with a letter that is none of ASCII",
      {
        identity: {
          name: "DER:30:1e:86:1c:68:74:74:70:73:3a:2f:2f:67:69:74:68:75:62:2e:63:6f:6d:2f:74:65:61:6d:2f:61:70:70:af",
        },
      },
      /is by https:\/\/github.com\/team\/app\u00af/,
    ],
    ["a certificate for something else", { identity: { usage: "serverAuth" } }, /no root of the policy/],
    ["another root", { required: { roots: stranger.root } }, /no root of the policy/],
    [
      "another root of the same name beside the signature",
      { leaf: (identity) => stranger.issue(identity), other: () => ({ chain: stranger.root }) },
      /no root of the policy/,
    ],
    [
      "a certificate by one that may not issue any",
      {
        leaf: (identity) => authority.issuedByLeaf(authority.issue(good), identity),
        other: () => ({ chain: authority.root }),
      },
      /no root of the policy/,
    ],
    [
      "an intermediate whose key is not for certificates",
      (() => {
        const by = authority.intermediate("digitalSignature");
        const leaf = (identity: Identity): Leaf => authority.issue({ ...identity, by });
        return { leaf, other: () => ({ chain: by.certificate }) };
      })(),
      /no root of the policy/,
    ],
    [
      "an intermediate below a root that allows none",
      (() => {
        const by = shallow.intermediate();
        const leaf = (identity: Identity): Leaf => shallow.issue({ ...identity, by });
        return { leaf, other: () => ({ chain: by.certificate }), required: { roots: shallow.root } };
      })(),
      /path length constraint exceeded/,
    ],
    ["no intermediate", { leaf: middleLeaf }, /no valid certificate path found/],
    ["a time before the certificate", { seconds: 1_500_000_000 }, /was not valid/],
    ["a certificate that had expired when it was logged", { seconds: now() + 3 * 86_400 }, /was not valid/],
    ["no log", { required: { logKeys: [] } }, /no valid receipt/],
    ["another log", { required: { logKeys: [stranger.logKey] } }, /no valid receipt/],
    ["no receipt", { other: () => ({ bundle: "" }) }, /can't be read/],
    ["an empty receipt", { other: () => ({ bundle: "{}" }) }, /no valid receipt/],
    ["no certificate", { other: () => ({ certificate: "" }) }, /can't be read/],
    [
      "a receipt for another signature",
      { other: () => ({ signature: Buffer.from("x").toString("base64") }) },
      /no valid receipt/,
    ],
    [
      "a receipt for another payload",
      { other: () => ({ payload: Buffer.from("{}").toString("base64") }) },
      /no valid receipt/,
    ],
    [
      "a receipt for another certificate",
      { by: () => authority.issue(good).certificate },
      /no valid receipt.*another key/,
    ],
    ["a receipt of another kind", { kind: "dsse" }, /no valid receipt.*kind/],
    [
      "a receipt with another time",
      {
        other: ({ bundle }) =>
          changed(bundle, ({ integratedTime }) => ({ integratedTime: Number(integratedTime) + 1 })),
      },
      /no valid receipt/,
    ],
    [
      "a receipt that names another log",
      { other: ({ bundle }) => changed(bundle, () => ({ logID: "00".repeat(32) })) },
      /no valid receipt/,
    ],
    [
      "a receipt whose signature was tampered with",
      {
        other: ({ bundle }) => {
          const receipt = JSON.parse(bundle);
          const bytes = Buffer.from(receipt.SignedEntryTimestamp, "base64");
          bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
          return { bundle: JSON.stringify({ ...receipt, SignedEntryTimestamp: bytes.toString("base64") }) };
        },
      },
      /no valid receipt/,
    ],
    [
      "a certificate that the log of certificates has not seen",
      { required: { ctLogKeys: [authority.certificateLog.key] } },
      /no valid receipt of a certificate transparency log/,
    ],
    [
      "a receipt of another log of certificates",
      { identity: { logged: true }, required: { ctLogKeys: [stranger.certificateLog.key] } },
      /no valid receipt of a certificate transparency log/,
    ],
  ])("is refused with %s", (_, changes, message) => {
    expect(verdict(changes)).toMatch(message);
  });

  it("is refused when another key made it", () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const leaf = (identity: Identity): Leaf => ({ ...authority.issue(identity), key: privateKey });
    expect(verdict({ leaf })).toMatch(/not by its certificate/);
  });
});

describe("a signature with a key", () => {
  const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();
  const curve = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const edwards = generateKeyPairSync("ed25519");
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });

  const signedBy = (key: KeyObject, by = createPublicKey(key)): CheckedSignature => {
    const signature = sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key);
    const text = signature.toString("base64");
    return {
      payload: payload.toString("base64"),
      signature: text,
      certificate: "",
      chain: "",
      bundle: authority.receipt(payload, text, { by: pem(by) }),
    };
  };
  const problem = (signed: CheckedSignature, keys: readonly KeyObject[], logKeys: readonly string[] = []) =>
    signatureProblem(signed, { kind: "signature", keys: keys.map(pem), logKeys });

  it.each([
    ["ECDSA", curve],
    ["Ed25519", edwards],
    ["RSA", rsa],
  ])(
    "of %s is good when it is one of the policy's, in its log if it has one",
    (_, { privateKey, publicKey }) => {
      const other = generateKeyPairSync("ed25519").publicKey;
      const signed = signedBy(privateKey);
      expect(problem({ ...signed, bundle: "" }, [other, publicKey])).toBeUndefined();
      expect(problem(signed, [other, publicKey], [authority.logKey])).toBeUndefined();
      expect(problem(signed, [other])).toBe("no signature is by a key of the policy");
      const payload = Buffer.from("{ }").toString("base64");
      expect(problem({ ...signed, payload }, [publicKey])).toBe("no signature is by a key of the policy");
      expect(problem(signed, [publicKey], [stranger.logKey])).toMatch(/no valid receipt/);
      expect(problem({ ...signed, bundle: "{}" }, [publicKey], [authority.logKey])).toMatch(
        /no valid receipt/,
      );
    },
  );

  it("is refused when its receipt is for another key, or can't be read", () => {
    const signed = signedBy(curve.privateKey, rsa.publicKey);
    expect(problem(signed, [curve.publicKey], [authority.logKey])).toMatch(/for another key/);
    expect(problem({ ...signed, bundle: "" }, [curve.publicKey], [authority.logKey])).toMatch(
      /can't be read/,
    );
  });
});
