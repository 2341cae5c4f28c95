import { once } from "node:events";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ImageFixture } from "../lib/image-fixture.ts";
import { registryAddress } from "../lib/registry.ts";
import { type KeyPair, TlsAuthority } from "../lib/tls-authority.ts";

/** Its layer is large enough to be read past the HTTP parser. */
const busybox = "e2e-test-images/busybox:1.29-2";

interface Listener {
  listen(port: number, host: string): unknown;
  address(): unknown;
  closeAllConnections(): void;
  close(): void;
}

interface Started extends Disposable {
  readonly address: string;
}

async function started(server: Listener & NodeJS.EventEmitter): Promise<Started> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.dispose]: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

function forward(incoming: IncomingMessage, answer: ServerResponse, path = incoming.url ?? ""): void {
  const { host: _, ...headers } = incoming.headers;
  const upstream = request(`http://${registryAddress}${path}`, { headers });
  upstream.on("response", (got) => got.pipe(answer.writeHead(got.statusCode ?? 500, got.headers)));
  upstream.end();
}

describe("a registry with TLS", () => {
  let authority: TlsAuthority;
  let pair: KeyPair;
  let client: KeyPair;
  let registry: Started;
  let strict: Started;
  const seen: { url: string; client: string }[] = [];

  beforeAll(async () => {
    authority = await TlsAuthority.make();
    pair = await authority.issue("registry");
    client = await authority.issue("client");
    const options = { cert: authority.read(pair.cert), key: authority.read(pair.key) };
    const note = (incoming: IncomingMessage): void => {
      const peer = (incoming.socket as TLSSocket).getPeerCertificate();
      seen.push({ url: incoming.url ?? "", client: String(peer.subject?.CN ?? "") });
    };
    const serve = (incoming: IncomingMessage, answer: ServerResponse): void => {
      note(incoming);
      const path = (incoming.url ?? "")
        .replace(/^\/artifacts\/docker\/v2/, "/v2")
        .replace(/^\/artifacts\/docker/, "/v2");
      forward(incoming, answer, path);
    };
    registry = await started(createTlsServer(options, serve));
    const ca = authority.read(authority.ca);
    strict = await started(
      createTlsServer({ ...options, ca, requestCert: true, rejectUnauthorized: true }, serve),
    );
  });

  afterAll(() => {
    registry[Symbol.dispose]();
    strict[Symbol.dispose]();
    authority[Symbol.dispose]();
  });

  afterEach(() => {
    seen.length = 0;
  });

  const configure = (fixture: ImageFixture, name: string, text: string): void => {
    const directory = join(fixture.certsDir, name);
    mkdirSync(directory, { recursive: true });
    copyFileSync(authority.ca, join(directory, "ca.pem"));
    copyFileSync(client.cert, join(directory, "client.pem"));
    copyFileSync(client.key, join(directory, "client.key"));
    writeFileSync(join(directory, "hosts.toml"), text);
  };
  const host = (more: string): string =>
    `[host."https://${registry.address}"]\n  capabilities = ["pull", "resolve"]\n  ${more}\n`;

  it("is trusted by the CA that its hosts.toml names, and not otherwise", async () => {
    await using fixture = await ImageFixture.open();
    configure(fixture, "tls.test", `server = "https://${registry.address}"\n${host("")}`);
    await expect(fixture.pull(`tls.test/${busybox}`)).rejects.toMatchObject({
      code: "pull-failed",
      message: expect.stringMatching(/is not trusted: /),
    });
    expect(seen).toEqual([]);
    configure(fixture, "tls.test", `server = "https://${registry.address}"\n${host('ca = "ca.pem"')}`);
    await fixture.pull(`tls.test/${busybox}`);
    expect(await fixture.images.verify()).toEqual([]);
    expect(seen.length).toBeGreaterThan(3);
  });

  it("need not be trusted with skip_verify", async () => {
    await using fixture = await ImageFixture.open();
    configure(fixture, "tls.test", `server = "https://${registry.address}"\n${host("skip_verify = true")}`);
    await fixture.pull(`tls.test/${busybox}`);
  });

  it("is shown the client certificate that it asks for", async () => {
    await using fixture = await ImageFixture.open();
    const named = (more: string): string =>
      `server = "https://${strict.address}"\n[host."https://${strict.address}"]\n  capabilities = ["pull", "resolve"]\n  ca = "ca.pem"\n  ${more}\n`;
    configure(fixture, "tls.test", named(""));
    await expect(fixture.pull(`tls.test/${busybox}`)).rejects.toThrow(/tls\.test/);
    configure(fixture, "tls.test", named('client = [["client.pem", "client.key"]]'));
    await fixture.pull(`tls.test/${busybox}`);
    expect(new Set(seen.map((one) => one.client))).toEqual(new Set(["client"]));
  });

  it("may have its API elsewhere (override_path)", async () => {
    await using fixture = await ImageFixture.open();
    const url = `https://${registry.address}/artifacts/docker`;
    const more = 'capabilities = ["pull", "resolve"]\n  ca = "ca.pem"\n  override_path = true\n';
    configure(fixture, "tls.test", `server = "https://${registry.address}"\n[host."${url}"]\n  ${more}`);
    await fixture.pull(`tls.test/${busybox}`);
    expect(seen.every(({ url: path }) => path.startsWith("/artifacts/docker/e2e-test-images/"))).toBe(true);
  });

  describe("behind a proxy", () => {
    const names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] as const;
    const before = names.map((name) => process.env[name]);
    afterEach(() => {
      for (const [n, name] of names.entries()) {
        if (before[n] === undefined) delete process.env[name];
        else process.env[name] = before[n];
      }
    });

    it("is reached through the one that the environment names, or not", async () => {
      const through: string[] = [];
      const proxy = createServer((incoming, answer) => {
        through.push(incoming.url ?? "");
        forward(incoming, answer, new URL(incoming.url ?? "").pathname);
      });
      proxy.on("connect", (incoming: IncomingMessage, socket, head) => {
        through.push(`CONNECT ${incoming.url ?? ""}`);
        const [name, port] = (incoming.url ?? "").split(":");
        const upstream = connect(Number(port), name);
        upstream.on("error", () => socket.destroy());
        socket.on("error", () => upstream.destroy());
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        upstream.write(head);
        upstream.pipe(socket).pipe(upstream);
      });
      using running = await started(proxy);
      process.env.HTTP_PROXY = `http://${running.address}`;
      process.env.HTTPS_PROXY = `http://${running.address}`;
      process.env.NO_PROXY = "";
      {
        await using fixture = await ImageFixture.open();
        configure(fixture, "tls.test", `server = "https://${registry.address}"\n${host('ca = "ca.pem"')}`);
        await fixture.pull(`tls.test/${busybox}`);
        expect(new Set(through)).toEqual(new Set([`CONNECT ${registry.address}`]));
        through.length = 0;
        await fixture.pull(`${registryAddress}/e2e-test-images/nginx:1.14-2`);
        expect(through.length).toBeGreaterThan(3);
        expect(through.every((url) => url.startsWith(`http://${registryAddress}/v2/`))).toBe(true);
        expect(await fixture.images.verify()).toEqual([]);
      }
      through.length = 0;
      process.env.NO_PROXY = "127.0.0.1";
      await using fixture = await ImageFixture.open();
      await fixture.pull(`${registryAddress}/${busybox}`);
      expect(through).toEqual([]);
    });
  });
});
