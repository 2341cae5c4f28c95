import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ownCredentials, parseHelperAnswer } from "./auth-file.ts";

const dir = mkdtempSync(join(tmpdir(), "berth-auth-"));
afterAll(() => rmSync(dir, { recursive: true }));

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const reference = (registry: string, repository: string) => ({
  registry,
  repository,
  tag: "latest",
  digest: undefined,
});

async function look(file: object | string, registry: string, repository: string): Promise<unknown> {
  const path = join(dir, "auth.json");
  writeFileSync(path, typeof file === "string" ? file : JSON.stringify(file));
  const answer = await ownCredentials(path, reference(registry, repository), async (name, server) => ({
    username: `helper ${name}`,
    password: server,
    identityToken: "",
    registryToken: "",
    serverAddress: "",
  }));
  return answer === undefined
    ? undefined
    : [answer.username, answer.password, answer.identityToken].join("|");
}

describe("the runtime's own credentials", () => {
  it("come from the entry that fits most closely", async () => {
    const auths = {
      "quay.io": { auth: base64("any:1") },
      "quay.io/team": { auth: base64("team:2") },
      "quay.io/team/app": { auth: base64("app:3:4") },
    };
    expect(await look({ auths }, "quay.io", "other/x")).toBe("any|1|");
    expect(await look({ auths }, "quay.io", "team/x")).toBe("team|2|");
    expect(await look({ auths }, "quay.io", "team/app")).toBe("app|3:4|");
    expect(await look({ auths }, "quay.io", "team/app/part")).toBe("app|3:4|");
    expect(await look({ auths }, "quay.org", "x")).toBeUndefined();
  });

  it("are found under the names that Docker writes", async () => {
    const auths = {
      "https://index.docker.io/v1/": { username: "u", password: "p" },
      "https://reg:5000": { identitytoken: "t" },
    };
    expect(await look({ auths }, "docker.io", "library/busybox")).toBe("u|p|");
    expect(await look({ auths }, "reg:5000", "x")).toBe("||t");
  });

  it("are asked of helpers", async () => {
    const file = { auths: { "a.io": {} }, credHelpers: { "b.io": "b-login" }, credsStore: "store" };
    expect(await look(file, "a.io", "x")).toBe("helper store|a.io|");
    expect(await look(file, "b.io", "x")).toBe("helper b-login|b.io|");
    expect(await look(file, "docker.io", "library/x")).toBe("helper store|https://index.docker.io/v1/|");
  });

  it("are nothing without a file, and an error with a broken one", async () => {
    expect(
      await ownCredentials(join(dir, "none"), reference("a.io", "x"), async () => undefined),
    ).toBeUndefined();
    await expect(look("{", "a.io", "x")).rejects.toThrow(/not JSON/);
    await expect(look({ auths: { "a.io": { auth: base64("nothing") } } }, "a.io", "x")).rejects.toThrow(
      /user:password/,
    );
  });
});

describe("a helper's answer", () => {
  it("is a password, an identity token or nothing", () => {
    expect(parseHelperAnswer('{"ServerURL":"x","Username":"u","Secret":"s"}')).toMatchObject({
      username: "u",
      password: "s",
    });
    expect(parseHelperAnswer('{"Username":"<token>","Secret":"s"}')).toMatchObject({
      username: "",
      identityToken: "s",
    });
    expect(parseHelperAnswer('{"Username":"","Secret":""}')).toBeUndefined();
  });
});
