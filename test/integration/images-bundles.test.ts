import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pushBundles, statement, topDigest } from "../lib/cosign.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { ReferringRegistry } from "../lib/referring-registry.ts";
import { registryAddress } from "../lib/registry.ts";
import { SecondLog } from "../lib/second-log.ts";
import { provider, SigningAuthority, workflow, workflowIdentity } from "../lib/signing-authority.ts";
import { TimestampAuthority } from "../lib/timestamp-authority.ts";

const repository = "k8s-staging-cri-tools/test-image-latest";
const reference = `${registryAddress}/${repository}:latest`;
const indexType = "application/vnd.oci.image.index.v1+json";

const authority = new SigningAuthority();
const stamps = new TimestampAuthority();
afterAll(() => {
  for (const one of [authority, stamps]) one[Symbol.dispose]();
});
const secondLog = new SecondLog();
const team = generateKeyPairSync("ec", { namedCurve: "P-256" });
const other = generateKeyPairSync("ed25519");

const rule = (text: string): string => `[[rule]]\nimages = ["*"]\n${text}\n`;
const byKey = rule('require = "signature"\nkeys = ["team.pub"]');
const certificateRule = (log: string, more = ""): string =>
  rule(
    `require = "certificate"\nroots = ["root.pem"]\nlog_keys = ["${log}"]\nidentity = "${workflow}"\nissuer = "${provider}"\n${more}`,
  );
const byCertificate = certificateRule("log.pub");

function write({ dir }: ImageFixture, policy: string): void {
  writeFileSync(join(dir, "team.pub"), team.publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(join(dir, "root.pem"), authority.root);
  writeFileSync(join(dir, "log.pub"), authority.logKey);
  writeFileSync(join(dir, "second-log.pub"), secondLog.key);
  writeFileSync(join(dir, "tsa.pem"), stamps.chain);
  writeFileSync(join(dir, "tsa-reversed.pem"), stamps.root + stamps.signer);
  writeFileSync(join(dir, "policy.toml"), policy);
}

function certified(document: Buffer): string {
  const { certificate, key } = authority.issue({ ...workflowIdentity, logged: true });
  return authority.bundle(document, key, { certificate });
}

describe("bundles beside an image", () => {
  let digest: string;
  beforeAll(async () => {
    digest = await topDigest(repository);
  });

  it("are found under a tag, and one that satisfies the policy is enough", async () => {
    await using fixture = await ImageFixture.open();
    const byOther = authority.bundle(statement(digest), other.privateKey, {});
    write(fixture, byKey);
    await pushBundles(repository, digest, [byOther]);
    await expect(fixture.pull(reference)).rejects.toThrow(
      `SignatureValidationFailed: ${registryAddress}/${repository}: no signature is by a key of the policy`,
    );
    await pushBundles(repository, digest, [
      byOther,
      authority.bundle(statement(digest), team.privateKey, { unlogged: true }),
      certified(statement(digest)),
    ]);
    await fixture.pull(reference);
    write(fixture, byCertificate);
    await fixture.pull(reference);
    await pushBundles(repository, digest, []);
    await expect(fixture.pull(reference)).rejects.toThrow(/it is not signed/);
  });

  it("need a time stamp where their log tells no time, by an authority of the policy", async () => {
    await using fixture = await ImageFixture.open();
    const { certificate, key } = authority.issue(workflowIdentity);
    const stamp = (signature: Buffer): string => stamps.stamp(signature);
    await pushBundles(repository, digest, [secondLog.bundle(statement(digest), key, { certificate, stamp })]);
    write(fixture, certificateRule("second-log.pub"));
    await expect(fixture.pull(reference)).rejects.toThrow(/no valid receipt .* or time stamp/);
    write(fixture, certificateRule("second-log.pub", 'timestamp_authorities = ["tsa-reversed.pem"]'));
    await expect(fixture.pull(reference)).rejects.toThrow(
      /tsa-reversed.pem is not the certificate of a signer/,
    );
    write(fixture, certificateRule("second-log.pub", 'timestamp_authorities = ["tsa.pem"]'));
    await fixture.pull(reference);
  });

  it.each([
    ["another image", () => statement(`sha256:${"0".repeat(64)}`), /a signature is for sha256:0000/],
    [
      "something else of the image",
      () => statement(digest, "https://slsa.dev/provenance/v1"),
      /a signature is for something else/,
    ],
    ["what is no statement", () => Buffer.from("{}"), /a signature is for something else/],
  ])("are no signature of it when they are for %s", async (_, document, message) => {
    await using fixture = await ImageFixture.open();
    write(fixture, byKey);
    await pushBundles(repository, digest, [authority.bundle(document(), team.privateKey, {})]);
    await expect(fixture.pull(reference)).rejects.toThrow(message);
    await expect(fixture.pull(reference)).rejects.toMatchObject({ code: "signature-invalid" });
  });

  it("are not fetched when their list says that they are for something else", async () => {
    await using fixture = await ImageFixture.open();
    write(fixture, byKey);
    await pushBundles(repository, digest, [authority.bundle(statement(digest), team.privateKey, {})], {
      "dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1",
    });
    await expect(fixture.pull(reference)).rejects.toThrow(/it is not signed/);
  });

  it("satisfy a pod later without a registry", async () => {
    await using fixture = await ImageFixture.open();
    write(fixture, byCertificate);
    await pushBundles(repository, digest, [certified(statement(digest))]);
    await fixture.pull(reference);
    await fixture.reopen();
    const directory = join(fixture.certsDir, registryAddress);
    mkdirSync(directory);
    writeFileSync(join(directory, "hosts.toml"), 'server = "http://127.0.0.1:1"\n');
    const image = fixture.images.find(reference);
    if (image === undefined) throw new Error(`${reference} is not here`);
    const use = { name: reference, namespace: "" };
    await fixture.images.authorize(image.id, use, new AbortController().signal);
    write(fixture, byKey);
    await expect(fixture.images.authorize(image.id, use, new AbortController().signal)).rejects.toThrow(
      /its registry can't be asked/,
    );
    rmSync(directory, { recursive: true });
  });

  it("are found in the registry's list of referrers where there is one", async () => {
    await using fixture = await ImageFixture.open();
    await using registry = await ReferringRegistry.start();
    write(fixture, byKey);
    const index = await pushBundles(repository, digest, [
      authority.bundle(statement(digest), team.privateKey, {}),
    ]);
    const name = `${registry.address}/${repository}:latest`;
    await expect(fixture.pull(name)).rejects.toThrow(/it is not signed/);
    registry.answer = { status: 200, type: indexType, body: JSON.stringify(index) };
    await fixture.pull(name);
    // What it does not list is not there, tag or no tag.
    registry.hasTags = true;
    registry.answer = { status: 200, type: indexType, body: JSON.stringify({ ...index, manifests: [] }) };
    await expect(fixture.pull(name)).rejects.toThrow(/it is not signed/);
  });

  it("are found in the list of the registry behind a mirror that has none", async () => {
    await using fixture = await ImageFixture.open();
    await using registry = await ReferringRegistry.start();
    await using mirror = await ReferringRegistry.start();
    write(fixture, byKey);
    const index = await pushBundles(repository, digest, [
      authority.bundle(statement(digest), team.privateKey, {}),
    ]);
    registry.answer = { status: 200, type: indexType, body: JSON.stringify(index) };
    const directory = join(fixture.certsDir, "mirrored.test");
    mkdirSync(directory);
    const host = `[host."http://${mirror.address}"]\n  capabilities = ["pull", "resolve"]\n`;
    writeFileSync(join(directory, "hosts.toml"), `server = "http://${registry.address}"\n${host}`);
    await fixture.pull(`mirrored.test/${repository}:latest`);
  });

  it.each([
    [400, "application/json"],
    [404, "application/json"],
    [405, "text/plain"],
    [200, "text/html"],
  ])("are found under their tag when the registry answers %i, %s", async (status, type) => {
    await using fixture = await ImageFixture.open();
    await using registry = await ReferringRegistry.start();
    write(fixture, byKey);
    await pushBundles(repository, digest, [authority.bundle(statement(digest), team.privateKey, {})]);
    registry.hasTags = true;
    registry.answer = { status, type, body: "<html>" };
    await fixture.pull(`${registry.address}/${repository}:latest`);
  });
});
