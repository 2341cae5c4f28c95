import { sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { claim, pushSignature, topDigest } from "../lib/cosign.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";
import { type Identity, provider, SigningAuthority, workflowIdentity } from "../lib/signing-authority.ts";

const repository = "k8s-staging-cri-tools/test-image-1";
const reference = `${registryAddress}/${repository}:latest`;

const authority = new SigningAuthority();
const stranger = new SigningAuthority();
const middle = authority.intermediate();
afterAll(() => {
  for (const one of [authority, stranger]) one[Symbol.dispose]();
});

interface Changes {
  readonly identity?: Partial<Identity>;
  readonly from?: SigningAuthority;
  readonly log?: SigningAuthority;
  readonly seconds?: number;
  readonly claimed?: string;
  readonly receipt?: (text: string) => string;
}

/** Signs without a key of one's own, as cosign does in a workflow. */
async function signImage(digest: string, changes: Changes = {}): Promise<void> {
  const { from = authority, log = authority, seconds, claimed = digest, receipt = (text) => text } = changes;
  const by = from === authority ? { by: middle } : {};
  const { certificate, key } = from.issue({
    ...workflowIdentity,
    logged: true,
    ...by,
    ...changes.identity,
  });
  const payload = claim(repository, claimed);
  const signature = sign("sha256", payload, key).toString("base64");
  const entry = log.receipt(payload, signature, {
    by: certificate,
    ...(seconds === undefined ? {} : { seconds }),
  });
  await pushSignature(repository, digest, payload, {
    "dev.cosignproject.cosign/signature": signature,
    "dev.sigstore.cosign/certificate": certificate,
    "dev.sigstore.cosign/chain": middle.certificate + from.root,
    "dev.sigstore.cosign/bundle": receipt(entry),
  });
}

function write(dir: string, more = ""): string {
  writeFileSync(join(dir, "root.pem"), authority.root);
  writeFileSync(join(dir, "log.pub"), authority.logKey);
  writeFileSync(join(dir, "ct.pub"), authority.certificateLog.key);
  writeFileSync(join(dir, "stranger-ct.pub"), stranger.certificateLog.key);
  const path = join(dir, "policy.toml");
  const trust = `roots = ["root.pem"]\nlog_keys = ["log.pub"]\n${more}`;
  const who = `identity = "https://github.com/team/app/*"\nissuer = "${provider}"\n`;
  writeFileSync(path, `[[rule]]\nimages = ["*"]\nrequire = "certificate"\n${trust}\n${who}`);
  return path;
}

const tamper = (text: string): string => {
  const receipt = JSON.parse(text);
  return JSON.stringify({ ...receipt, Payload: { ...receipt.Payload, logIndex: 8 } });
};

describe("a policy of certificates", () => {
  let digest: string;
  beforeAll(async () => {
    digest = await topDigest(repository);
  });

  it("lets in what the identity has signed, whether the log of certificates is asked for or not", async () => {
    await using fixture = await ImageFixture.open();
    await signImage(digest);
    write(fixture.dir);
    await fixture.pull(reference);
    write(fixture.dir, 'ct_log_keys = ["ct.pub"]');
    await fixture.pull(reference);
    write(fixture.dir, 'ct_log_keys = ["stranger-ct.pub"]');
    await expect(fixture.pull(reference)).rejects.toThrow(/receipt of a certificate transparency log/);
  });

  it.each<[string, Changes, RegExp]>([
    [
      "of somebody else",
      { identity: { name: "URI:https://github.com/else/app/x" } },
      /is by https:\/\/github.com\/else\/app\/x, not by https:\/\/github.com\/team\/app\/\*/,
    ],
    [
      "that somebody else vouches for",
      { identity: { issuer: "https://evil.example" } },
      /vouched for by https:\/\/evil.example, not by https:\/\/token/,
    ],
    ["with a certificate of another root", { from: stranger }, /of no root of the policy/],
    [
      "whose certificate had expired when it was logged",
      { seconds: Math.floor(Date.now() / 1000) + 3 * 86_400 },
      /was not valid when it was made/,
    ],
    ["in another log", { log: stranger }, /no valid receipt of the transparency log/],
    [
      "with a receipt that was tampered with",
      { receipt: tamper },
      /no valid receipt of the transparency log/,
    ],
    ["without a receipt", { receipt: () => "{}" }, /no valid receipt of the transparency log/],
    ["for another image", { claimed: `sha256:${"0".repeat(64)}` }, /a signature is for sha256:0000/],
  ])("refuses a signature %s", async (_, changes, message) => {
    await using fixture = await ImageFixture.open();
    write(fixture.dir);
    await signImage(digest, changes);
    const pull = fixture.pull(reference);
    await expect(pull).rejects.toMatchObject({
      code: "signature-invalid",
      message: expect.stringMatching(
        new RegExp(`^SignatureValidationFailed: ${registryAddress}/${repository}: `),
      ),
    });
    await expect(pull).rejects.toThrow(message);
    expect(fixture.images.list()).toEqual([]);
  });

  it("holds in a server as it is installed, which loads what it takes at the first signature", async () => {
    await using server = await Berthd.start();
    await server.stop();
    await server.again({ flags: ["--policy-file", write(server.dir)] });
    await signImage(digest, { log: stranger });
    const request = { image: { image: reference }, auth: undefined, sandboxConfig: undefined };
    await expect(server.image.pullImage(request)).rejects.toMatchObject({
      details: expect.stringMatching(/^SignatureValidationFailed: .*no valid receipt/),
    });
    await signImage(digest);
    await server.image.pullImage(request);
  });
});
