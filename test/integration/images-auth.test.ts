import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { PullAuth } from "../../cri-server/src/ports/images.ts";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";

const none: PullAuth = {
  username: "",
  password: "",
  identityToken: "",
  registryToken: "",
  serverAddress: "",
};
const busybox = "e2e-test-images/busybox:1.29-2";

type Scheme = "bearer" | "basic";

/** A registry that lets only those in who know the password or have a token, with a token service of its own. */
class GuardedRegistry implements AsyncDisposable {
  readonly #server: Server;
  readonly #scheme: Scheme;
  /** What the token service was asked for. */
  readonly tokens: { scope: string | null; service: string | null; how: string }[] = [];
  readonly authorizations: (string | undefined)[] = [];

  private constructor(scheme: Scheme) {
    this.#scheme = scheme;
    this.#server = createServer((incoming, answer) => {
      const url = new URL(incoming.url ?? "/", "http://x");
      const { authorization } = incoming.headers;
      if (url.pathname === "/token") {
        let body = "";
        incoming.on("data", (chunk: Buffer) => {
          body += chunk.toString();
        });
        incoming.on("end", () => {
          const form = new URLSearchParams(body);
          const basic = authorization === `Basic ${Buffer.from("user:secret").toString("base64")}`;
          const right = basic || form.get("refresh_token") === "identity";
          const from = incoming.method === "POST" ? form : url.searchParams;
          this.tokens.push({
            scope: from.get("scope"),
            service: from.get("service"),
            how: incoming.method ?? "",
          });
          answer.writeHead(right ? 200 : 401).end(JSON.stringify({ token: "granted", expires_in: 300 }));
        });
        return;
      }
      this.authorizations.push(authorization);
      const wanted =
        scheme === "bearer" ? "Bearer granted" : `Basic ${Buffer.from("user:secret").toString("base64")}`;
      if (authorization !== wanted && authorization !== "Bearer given") {
        answer.writeHead(401, { "www-authenticate": this.#challenge(url.pathname) }).end();
        return;
      }
      const headers = { ...incoming.headers, host: registryAddress };
      delete headers.authorization;
      const upstream = request(`http://${registryAddress}${incoming.url ?? ""}`, { headers });
      upstream.on("response", (got) => got.pipe(answer.writeHead(got.statusCode ?? 500, got.headers)));
      upstream.end();
    });
  }

  #challenge(path: string): string {
    const repository = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(path)?.[1] ?? "";
    return this.#scheme === "basic"
      ? 'Basic realm="here"'
      : `Bearer realm="http://${this.address}/token",service="reg",scope="repository:${repository}:pull"`;
  }

  static async start(scheme: Scheme): Promise<GuardedRegistry> {
    const registry = new GuardedRegistry(scheme);
    await new Promise<void>((resolve) => registry.#server.listen(0, "127.0.0.1", resolve));
    return registry;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe("credentials", () => {
  const path = process.env.PATH;
  afterEach(() => {
    process.env.PATH = path;
  });

  it.each<[Scheme, Partial<PullAuth>]>([
    ["bearer", { username: "user", password: "secret" }],
    ["bearer", { identityToken: "identity" }],
    ["bearer", { registryToken: "given" }],
    ["basic", { username: "user", password: "secret" }],
  ])("open a registry with %s by %j", async (scheme, auth) => {
    await using registry = await GuardedRegistry.start(scheme);
    await using fixture = await ImageFixture.open();
    await fixture.pull(`${registry.address}/${busybox}`, { ...none, ...auth });
    if (scheme === "bearer" && auth.registryToken === undefined) {
      // One token serves the whole pull.
      expect(registry.tokens).toHaveLength(1);
      expect(registry.tokens[0]).toMatchObject({
        service: "reg",
        scope: "repository:e2e-test-images/busybox:pull",
      });
    }
  });

  it.each<[Scheme, Partial<PullAuth> | undefined]>([
    ["bearer", undefined],
    ["bearer", { username: "user", password: "wrong" }],
    ["bearer", { username: "user", password: "secret", serverAddress: "other.example" }],
    ["basic", undefined],
    ["basic", { username: "user", password: "wrong" }],
  ])("that are wrong are refused at once (%s, %j), and never shown", async (scheme, auth) => {
    await using registry = await GuardedRegistry.start(scheme);
    await using fixture = await ImageFixture.open();
    const error = await fixture
      .pull(`${registry.address}/${busybox}`, auth === undefined ? undefined : { ...none, ...auth })
      .catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "pull-failed", message: expect.stringMatching(/unauthorized/) });
    expect(registry.authorizations.length).toBeLessThanOrEqual(2);
    expect(JSON.stringify(fixture.log)).not.toMatch(/secret|wrong/);
  });

  it("of one pull do not serve another", async () => {
    await using registry = await GuardedRegistry.start("bearer");
    await using fixture = await ImageFixture.open();
    const reference = `${registry.address}/${busybox}`;
    const right = { ...none, username: "user", password: "secret" };
    const outcomes = await Promise.allSettled([
      fixture.pull(reference, right),
      fixture.pull(reference),
      fixture.pull(reference, { ...right, password: "wrong" }),
    ]);
    expect(outcomes.map((one) => one.status)).toEqual(["fulfilled", "rejected", "rejected"]);
    await expect(fixture.pull(reference)).rejects.toThrow(/unauthorized/);
  });

  it("that are refused half-way fail that pull alone, not one of others that waits for the same layer", async () => {
    await using fixture = await ImageFixture.open();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const { promise: asked, resolve: isAsked } = Promise.withResolvers<void>();
    /** Lets nobody have the layer, after a while. */
    const revoking = createServer((incoming, answer) => {
      const upstream = request(`http://${registryAddress}${incoming.url ?? ""}`, {
        headers: incoming.headers,
      });
      upstream.on("response", (got) => {
        if (Number(got.headers["content-length"]) < 100_000) {
          got.pipe(answer.writeHead(got.statusCode ?? 500, got.headers));
          return;
        }
        got.destroy();
        isAsked();
        void released.then(() => answer.writeHead(403).end());
      });
      upstream.end();
    });
    await new Promise<void>((resolve) => revoking.listen(0, "127.0.0.1", resolve));
    const { port } = revoking.address() as AddressInfo;
    const refused = fixture.pull(`127.0.0.1:${port}/${busybox}`);
    refused.catch(() => {});
    await asked;
    const other = fixture.pull(`${registryAddress}/${busybox}`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    release();
    await expect(refused).rejects.toMatchObject({ code: "pull-failed" });
    await other;
    expect(await fixture.images.verify()).toEqual([]);
    revoking.closeAllConnections();
    revoking.close();
  });

  it("do not follow a redirect to another host", async () => {
    await using fixture = await ImageFixture.open();
    const seen: (string | undefined)[] = [];
    const store = createServer((incoming, answer) => {
      seen.push(incoming.headers.authorization, incoming.headers["x-team"] as string | undefined);
      const { accept = "*/*" } = incoming.headers;
      const upstream = request(`http://${registryAddress}${incoming.url ?? ""}`, { headers: { accept } });
      upstream.on("response", (got) => got.pipe(answer.writeHead(got.statusCode ?? 500, got.headers)));
      upstream.end();
    });
    await new Promise<void>((resolve) => store.listen(0, "127.0.0.1", resolve));
    const { port } = store.address() as AddressInfo;
    const front = createServer((incoming, answer) => {
      const wanted = `Basic ${Buffer.from("user:secret").toString("base64")}`;
      if (incoming.headers.authorization !== wanted || incoming.headers["x-team"] !== "blue") {
        answer.writeHead(401, { "www-authenticate": 'Basic realm="here"' }).end();
        return;
      }
      answer.writeHead(307, { location: `http://127.0.0.1:${port}${incoming.url ?? ""}` }).end();
    });
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    const address = `127.0.0.1:${(front.address() as AddressInfo).port}`;
    mkdirSync(join(fixture.certsDir, address));
    writeFileSync(
      join(fixture.certsDir, address, "hosts.toml"),
      `[host."http://${address}"]\ncapabilities = ["pull", "resolve"]\n[host."http://${address}".header]\nx-team = "blue"\n`,
    );
    await fixture.pull(`${address}/${busybox}`, { ...none, username: "user", password: "secret" });
    expect(seen.length).toBeGreaterThan(4);
    expect(seen.every((value) => value === undefined)).toBe(true);
    for (const server of [store, front]) {
      server.closeAllConnections();
      server.close();
    }
  });

  it("of the runtime itself come from a file or a helper, read at each pull", async () => {
    await using registry = await GuardedRegistry.start("bearer");
    await using fixture = await ImageFixture.open();
    const reference = `${registry.address}/${busybox}`;
    const file = join(fixture.dir, "auth.json");
    await expect(fixture.pull(reference)).rejects.toThrow(/unauthorized/);
    const auth = Buffer.from("user:secret").toString("base64");
    writeFileSync(file, JSON.stringify({ auths: { [registry.address]: { auth } } }));
    await fixture.pull(reference);
    const bin = join(fixture.dir, "bin");
    mkdirSync(bin);
    const helper = join(bin, "docker-credential-test");
    writeFileSync(
      helper,
      `#!/bin/sh\nread -r server\n[ "$1" = get ] && [ "$server" = ${registry.address} ] && echo '{"Username":"user","Secret":"secret"}'\n`,
    );
    chmodSync(helper, 0o755);
    process.env.PATH = `${bin}:${path}`;
    writeFileSync(file, JSON.stringify({ credHelpers: { [registry.address]: "test" } }));
    await using fresh = await GuardedRegistry.start("basic");
    writeFileSync(
      helper,
      `#!/bin/sh\nread -r server\n[ "$server" = ${fresh.address} ] || exit 1\necho '{"Username":"user","Secret":"secret"}'\n`,
    );
    writeFileSync(file, JSON.stringify({ credsStore: "test" }));
    await fixture.pull(`${fresh.address}/${busybox}`);
    writeFileSync(file, JSON.stringify({ credsStore: "missing" }));
    await expect(fixture.pull(`${fresh.address}/${busybox}`)).rejects.toThrow(/docker-credential-missing/);
  });
});

describe("mirrors", () => {
  it("of _default are for registries without a folder of their own, and only for those", async () => {
    await using fixture = await ImageFixture.open();
    const configure = (name: string, text: string): void => {
      mkdirSync(join(fixture.certsDir, name));
      writeFileSync(join(fixture.certsDir, name, "hosts.toml"), text);
    };
    configure("_default", `[host."http://${registryAddress}"]\n  capabilities = ["pull", "resolve"]\n`);
    await fixture.pull(`anywhere.example/${busybox}`);
    await fixture.pull(`elsewhere.example:5000/${busybox}`);
    configure("own.example", 'server = "http://127.0.0.1:9"\n');
    await expect(fixture.pull(`own.example/${busybox}`)).rejects.toMatchObject({
      code: "registry-unavailable",
    });
    // What is wrong with it is of no concern to who has his own.
    configure("broken.example", `server = "http://${registryAddress}"\n`);
    writeFileSync(join(fixture.certsDir, "_default", "hosts.toml"), "= =");
    await fixture.pull(`broken.example/${busybox}`);
    await expect(fixture.pull(`anywhere.example/${busybox}`)).rejects.toThrow(/_default\/hosts\.toml/);
  });

  it("are tried in turn, and told which registry they stand for", async () => {
    await using fixture = await ImageFixture.open();
    const seen: string[] = [];
    const broken = createServer((incoming, answer) => {
      seen.push(incoming.url ?? "");
      answer.writeHead(500).end();
    });
    await new Promise<void>((resolve) => broken.listen(0, "127.0.0.1", resolve));
    const { port } = broken.address() as AddressInfo;
    mkdirSync(join(fixture.certsDir, "somewhere.example"));
    const hosts = (first: string): void =>
      writeFileSync(
        join(fixture.certsDir, "somewhere.example/hosts.toml"),
        `[host."http://127.0.0.1:9"]\n[host."http://127.0.0.1:${port}"]\n${first}[host."http://${registryAddress}"]\ncapabilities=["pull","resolve"]`,
      );
    hosts("");
    const image = await fixture.pull(`somewhere.example/${busybox}`);
    expect(image.repoTags).toEqual([`somewhere.example/${busybox}`]);
    expect(seen.length).toBeGreaterThanOrEqual(2);
    for (const url of seen) expect(url).toMatch(/[?&]ns=somewhere\.example$/);
    seen.length = 0;
    hosts('capabilities = ["push"]\n');
    await fixture.images.remove(image.id);
    await fixture.pull(`somewhere.example/${busybox}`);
    expect(seen).toEqual([]);
    broken.close();
  });
});
