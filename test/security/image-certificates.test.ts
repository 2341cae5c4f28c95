import { sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import { checkCertified } from "../../cri-server/src/domain/image/certificate.ts";
import { type Identity, SigningAuthority } from "../lib/signing-authority.ts";

const workflow = "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1";
const provider = "https://token.actions.githubusercontent.com";
const payload = Buffer.from('{"critical":{}}');

interface Changes {
  readonly identity?: Partial<Identity>;
  readonly seconds?: number;
  readonly other?: (parts: {
    signature: string;
    certificate: string;
    chain: string;
    bundle: string;
  }) => object;
  readonly required?: object;
}

/** What is wrong with a good signature after some changes. */
function verdict(changes: Changes = {}): string | undefined {
  using authority = new SigningAuthority();
  using stranger = new SigningAuthority();
  const leaf = authority.issue({ name: `URI:${workflow}`, issuer: provider, ...changes.identity });
  const signature = sign("sha256", payload, leaf.key).toString("base64");
  const parts = {
    signature,
    certificate: leaf.certificate,
    chain: "",
    bundle: authority.receipt(payload, signature, leaf.certificate, changes.seconds),
  };
  const required = {
    roots: authority.root,
    logKeys: [authority.logKey],
    identity: "https://github.com/team/app/*",
    issuer: provider,
    ...(changes.required ?? {}),
  };
  const strange = JSON.stringify(changes.required ?? {}).includes("stranger");
  const real = strange ? { ...required, roots: stranger.root } : required;
  return checkCertified(payload, { ...parts, ...changes.other?.(parts) }, real);
}

describe("a signature with a certificate", () => {
  it("is good when root, identity, provider, log and time agree", () => {
    expect(verdict()).toBeUndefined();
    expect(
      verdict({ identity: { name: "email:dev@example.org" }, required: { identity: "dev@example.org" } }),
    ).toBeUndefined();
  });

  it.each<[string, Changes, RegExp]>([
    [
      "another identity",
      { identity: { name: "URI:https://github.com/else/app/x" } },
      /is by https:\/\/github.com\/else/,
    ],
    ["another provider", { identity: { issuer: "https://evil.example" } }, /vouched for by https:\/\/evil/],
    [
      "a name that looks like two",
      { identity: { name: "URI:https://evil.example/, URI:https://github.com/team/app/x" } },
      /is by https:\/\/evil/,
    ],
    ["a certificate for something else", { identity: { usage: "serverAuth" } }, /no root of the policy/],
    ["another root", { required: { roots: "stranger" } }, /no root of the policy/],
    ["a time before the certificate", { seconds: 1_500_000_000 }, /was not valid/],
    [
      "a time after the certificate",
      { seconds: Math.floor(Date.now() / 1000) + 3 * 86_400 },
      /was not valid/,
    ],
    ["another log", { required: { logKeys: [] } }, /no valid receipt/],
    ["no receipt", { other: () => ({ bundle: "" }) }, /can't be read/],
    ["an empty receipt", { other: () => ({ bundle: "{}" }) }, /no valid receipt/],
    ["no certificate", { other: () => ({ certificate: "" }) }, /can't be read/],
    [
      "a receipt for another signature",
      { other: () => ({ signature: Buffer.from("x").toString("base64") }) },
      /no valid receipt/,
    ],
    [
      "a receipt with another time",
      {
        other: ({ bundle }) => ({
          bundle: bundle.replace(/"integratedTime":\d+/, `"integratedTime":1700000000`),
        }),
      },
      /no valid receipt/,
    ],
  ])("is refused with %s", (_, changes, message) => {
    expect(verdict(changes)).toMatch(message);
  });
});
