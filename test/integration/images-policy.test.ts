import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { claim, pushSignature, topDigest } from "../lib/cosign.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { busybox, pull, TestPod } from "../lib/pod.ts";
import { registryAddress } from "../lib/registry.ts";

const repository = "k8s-staging-cri-tools/test-image-2";
const unsigned = "k8s-staging-cri-tools/test-image-3";
const reference = `${registryAddress}/${repository}:latest`;

const team = generateKeyPairSync("ec", { namedCurve: "P-256" });
const stranger = generateKeyPairSync("ed25519");
const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }).toString();

/** Signs with a key that nobody vouches for. */
async function signImage(name: string, digest: string, key: KeyObject, claimed = digest): Promise<void> {
  const payload = claim(name, claimed);
  const signature = sign(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key);
  await pushSignature(name, digest, payload, {
    "dev.cosignproject.cosign/signature": signature.toString("base64"),
  });
}

const certified = (trust: string): string =>
  `[[rule]]\nimages = ["*"]\nrequire = "certificate"\n${trust}\nidentity = "*"\nissuer = "https://x.test"\n`;

const signal = new AbortController().signal;
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

  /** Whether a pod may use the image that is here. */
  const use = async (fixture: ImageFixture, name: string, namespace = ""): Promise<void> => {
    const image = fixture.images.find(reference);
    if (image === undefined) throw new Error(`${reference} is not here`);
    await fixture.images.authorize(image.id, { name, namespace }, signal);
  };

  /** Nobody listens there. */
  const withoutRegistry = async (fixture: ImageFixture, work: () => Promise<void>): Promise<void> => {
    const directory = join(fixture.certsDir, registryAddress);
    mkdirSync(directory);
    writeFileSync(join(directory, "hosts.toml"), 'server = "http://127.0.0.1:1"\n');
    await work();
    rmSync(directory, { recursive: true });
  };

  it("holds for what was here before it, by what the registry has", async () => {
    await using fixture = await ImageFixture.open();
    await signImage(repository, digest, stranger.privateKey);
    await fixture.pull(reference);
    await use(fixture, reference);
    write(fixture, signed('"team.pub"'));
    await expect(use(fixture, reference)).rejects.toMatchObject(refused);
    await signImage(repository, digest, team.privateKey);
    await withoutRegistry(fixture, async () => {
      await expect(use(fixture, reference)).rejects.toMatchObject(refused);
      await expect(use(fixture, reference)).rejects.toThrow(/its registry can't be asked/);
    });
    await use(fixture, reference);
    // Asked once.
    await withoutRegistry(fixture, async () => await use(fixture, reference));
  });

  it("keeps what it was satisfied by, and asks it again when it changes", async () => {
    await using fixture = await ImageFixture.open();
    await signImage(repository, digest, team.privateKey);
    write(fixture, signed('"team.pub"'));
    await fixture.pull(reference);
    await fixture.reopen();
    await withoutRegistry(fixture, async () => {
      await use(fixture, reference);
      await use(fixture, "");
      await use(fixture, fixture.images.find(reference)?.id ?? "");
      write(fixture, signed('"stranger.pub"'));
      await expect(use(fixture, reference)).rejects.toMatchObject(refused);
      write(fixture, signed('"stranger.pub", "team.pub"'));
      await use(fixture, reference);
      write(fixture, '[[rule]]\nimages = ["*"]\nrequire = "reject"\n');
      await expect(use(fixture, reference)).rejects.toMatchObject(refused);
    });
    // A signature that is taken back from the registry is none for a pull.
    write(fixture, signed('"team.pub"'));
    await signImage(repository, digest, stranger.privateKey);
    await expect(fixture.pull(reference)).rejects.toMatchObject(refused);
  });

  it("holds for the name that a pod says, and for every name when it says none", async () => {
    await using fixture = await ImageFixture.open();
    await fixture.pull(reference);
    await fixture.images.tag(reference, "free.test/also:1");
    write(
      fixture,
      `[[rule]]\nimages = ["${registryAddress}/*"]\nnamespaces = ["closed"]\nrequire = "reject"\n`,
    );
    await use(fixture, reference, "open");
    await use(fixture, "free.test/also:1", "closed");
    await expect(use(fixture, reference, "closed")).rejects.toMatchObject(refused);
    await expect(use(fixture, "", "closed")).rejects.toMatchObject(refused);
  });

  it("refuses a container whose image a later rule is against, and one with such a volume", async () => {
    await using server = await Berthd.start();
    await server.stop();
    const policy = join(server.dir, "policy.toml");
    await server.again({ flags: ["--policy-file", policy] });
    await pull(server);
    await using pod = await TestPod.run(server);
    await pod.start();
    writeFileSync(
      policy,
      '[[rule]]\nimages = ["registry.test/*"]\nnamespaces = ["test"]\nrequire = "reject"\n',
    );
    const failure = (pattern: RegExp) => ({ details: expect.stringMatching(pattern) });
    await expect(pod.create()).rejects.toMatchObject({ code: 2, ...failure(/^SignatureValidationFailed: /) });
    const { image } = await server.image.imageStatus({ image: { image: busybox } });
    writeFileSync(
      policy,
      '[[rule]]\nimages = ["free.test/*"]\nrequire = "nothing"\n[[rule]]\nimages = ["*"]\nrequire = "reject"\n',
    );
    const mounts = [{ containerPath: "/volume", image: { image: image?.id ?? "" }, readonly: true }];
    const named = { image: image?.id ?? "", userSpecifiedImage: "free.test/busybox" };
    await pod.create({ image: named });
    await expect(pod.create({ image: named, mounts })).rejects.toMatchObject(
      failure(/^ImageVolumeMountFailed: .*SignatureValidationFailed/),
    );
    await pod.remove();
    rmSync(policy);
  });

  it.each([
    ["nonsense", "= ="],
    ["an unknown requirement", '[[rule]]\nimages = ["*"]\nrequire = "luck"'],
    ["a key that is missing", '[[rule]]\nimages = ["*"]\nrequire = "signature"\nkeys = ["/none.pub"]'],
    ["a root that is missing", certified('roots = ["/none.pem"]\nlog_keys = ["team.pub"]')],
    ["a root that is none", certified('roots = ["team.pub"]\nlog_keys = ["team.pub"]')],
    ["no images", '[[rule]]\nrequire = "nothing"'],
  ])("that is broken (%s) stops every pull", async (_, text) => {
    await using fixture = await ImageFixture.open();
    write(fixture, text);
    await expect(fixture.pull(reference)).rejects.toMatchObject(refused);
  });
});
