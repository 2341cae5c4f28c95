import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";

const repository = "k8s-staging-cri-tools/test-image-2";
const unsigned = "k8s-staging-cri-tools/test-image-3";
const reference = `${registryAddress}/${repository}:latest`;
const api = `http://${registryAddress}/v2`;

const team = generateKeyPairSync("ec", { namedCurve: "P-256" });
const stranger = generateKeyPairSync("ed25519");
const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();
const digestOf = (data: Buffer): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;

async function topDigest(name: string): Promise<string> {
  const accept = "application/vnd.docker.distribution.manifest.list.v2+json";
  const answer = await fetch(`${api}/${name}/manifests/latest`, { method: "HEAD", headers: { accept } });
  return answer.headers.get("docker-content-digest") ?? "";
}

async function pushBlob(name: string, data: Buffer): Promise<void> {
  const session = await fetch(`${api}/${name}/blobs/uploads/`, { method: "POST" });
  const upload = new URL(session.headers.get("location") ?? "", api);
  upload.searchParams.set("digest", digestOf(data));
  await fetch(upload, {
    method: "PUT",
    body: new Uint8Array(data),
    headers: { "content-type": "application/octet-stream" },
  });
}

/** Signs as cosign does: a payload as a layer, its signature as an annotation, under a tag made of the digest. */
async function signImage(name: string, digest: string, key: KeyObject, claimed = digest): Promise<void> {
  const payload = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": name },
        image: { "docker-manifest-digest": claimed },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
  const config = Buffer.from("{}");
  await pushBlob(name, payload);
  await pushBlob(name, config);
  const signature = sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(config),
      size: config.length,
    },
    layers: [
      {
        mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
        digest: digestOf(payload),
        size: payload.length,
        annotations: { "dev.cosignproject.cosign/signature": signature.toString("base64") },
      },
    ],
  });
  const put = await fetch(`${api}/${name}/manifests/${digest.replace(":", "-")}.sig`, {
    method: "PUT",
    body: manifest,
    headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
  });
  expect(put.status).toBe(201);
}

const refused = { code: "signature-invalid", message: expect.stringMatching(/^SignatureValidationFailed: /) };

describe("a policy of signatures", () => {
  let digest: string;
  beforeAll(async () => {
    digest = await topDigest(repository);
  });

  const write = (fixture: ImageFixture, rules: string): void => {
    writeFileSync(join(fixture.dir, "team.pub"), pem(team.publicKey));
    writeFileSync(join(fixture.dir, "stranger.pub"), pem(stranger.publicKey));
    writeFileSync(join(fixture.dir, "policy.toml"), rules);
  };
  const signed = (keys: string): string =>
    `[[rule]]\nimages = ["${registryAddress}/k8s-staging-cri-tools/*"]\nrequire = "signature"\nkeys = [${keys}]\n`;

  it("lets in what one of its keys has signed, and nothing else", async () => {
    await using fixture = await ImageFixture.open();
    write(fixture, signed('"team.pub"'));
    await expect(fixture.pull(`${registryAddress}/${unsigned}`)).rejects.toMatchObject(refused);
    await expect(fixture.pull(`${registryAddress}/${unsigned}`)).rejects.toThrow(/not signed/);
    expect(fixture.images.list()).toEqual([]);
    expect(fixture.layers()).toEqual([]);
    await signImage(repository, digest, team.privateKey);
    await fixture.pull(reference);
    write(fixture, signed('"stranger.pub"'));
    await expect(fixture.pull(reference)).rejects.toThrow(/no signature is by a key of the policy/);
    write(fixture, signed('"stranger.pub", "team.pub"'));
    await fixture.pull(reference);
    // Other names are not under the rule.
    await fixture.pull(`${registryAddress}/pause:3.9`);
  });

  it("is not fooled by a signature for another image", async () => {
    await using fixture = await ImageFixture.open();
    write(fixture, signed('"team.pub"'));
    await signImage(repository, digest, team.privateKey, `sha256:${"0".repeat(64)}`);
    await expect(fixture.pull(reference)).rejects.toThrow(/a signature is for sha256:0000/);
    await signImage(repository, digest, stranger.privateKey);
    await expect(fixture.pull(reference)).rejects.toMatchObject(refused);
    write(fixture, signed('"stranger.pub"'));
    await fixture.pull(reference);
  });

  it("goes by the pod's namespace, the first rule that fits", async () => {
    await using fixture = await ImageFixture.open();
    const any = `images = ["*"]\n`;
    write(
      fixture,
      `[[rule]]\n${any}namespaces = ["open"]\nrequire = "nothing"\n[[rule]]\n${any}require = "reject"\n`,
    );
    await fixture.pull(reference, undefined, undefined, "open");
    await expect(fixture.pull(reference, undefined, undefined, "closed")).rejects.toMatchObject(refused);
    await expect(fixture.pull(reference)).rejects.toMatchObject(refused);
  });

  it.each([
    ["nonsense", "= ="],
    ["an unknown requirement", '[[rule]]\nimages = ["*"]\nrequire = "luck"'],
    ["a key that is missing", '[[rule]]\nimages = ["*"]\nrequire = "signature"\nkeys = ["/none.pub"]'],
    ["no images", '[[rule]]\nrequire = "nothing"'],
  ])("that is broken (%s) stops every pull", async (_, text) => {
    await using fixture = await ImageFixture.open();
    write(fixture, text);
    await expect(fixture.pull(reference)).rejects.toMatchObject(refused);
  });
});
