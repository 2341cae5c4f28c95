import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { run } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";
import { Streaming, transports } from "../lib/streaming.ts";

// The HTTP server behind the URLs of Exec, Attach and PortForward.

let server: Berthd;
let pod: TestPod;
let container: TestContainer;
let _streaming: Streaming;

beforeAll(async () => {
  server = await Berthd.start();
  _streaming = new Streaming(server);
  await pull(server);
  pod = await TestPod.run(server);
  container = await pod.start();
});
afterAll(async () => {
  await pod?.remove();
  await server?.[Symbol.asyncDispose]();
});

describe("the streaming server", () => {
  async function upgrade(url: string, headers: string): Promise<string> {
    const { hostname, port, pathname } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.write(`POST ${pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n${headers}\r\n\r\n`);
    const [answer] = await once(socket, "data");
    socket.destroy();
    return String(answer);
  }
  const issue = async () =>
    (await server.runtime.exec({ containerId: container.id, cmd: ["true"], stdout: true })).url;
  const spdy = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io";

  it("listens on loopback, and takes a token once", async () => {
    const url = await issue();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{20,}$/);
    expect(await upgrade(url, spdy)).toContain("101 Switching Protocols");
    expect(await upgrade(url, spdy)).toContain("404 Not Found");
    expect(await upgrade((await issue()).replace("/exec/", "/attach/"), spdy)).toContain("404");
  });

  it("names the protocols that it speaks to a client that speaks none of them", async () => {
    const answer = await upgrade(
      await issue(),
      "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9.channel.k8s.io",
    );
    expect(answer).toContain("403 Forbidden");
    expect(answer).toContain("X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io");
    expect(await upgrade(await issue(), "Upgrade: telnet")).toContain("400 Bad Request");
  });

  it.each([
    [{ cmd: ["true"] }, /stdin, stdout, stderr/],
    [{ cmd: [], stdout: true }, /cmd/],
    [{ cmd: ["true"], stdout: true, stderr: true, tty: true }, /stderr/],
  ])("refuses an exec of %j", async (request, message) => {
    await expect(server.runtime.exec({ containerId: container.id, ...request })).rejects.toMatchObject({
      code: 3,
      message: expect.stringMatching(message),
    });
  });

  it("refuses to attach to what doesn't run, and what doesn't exist", async () => {
    const created = await pod.create();
    await expect(server.runtime.attach({ containerId: created.id, stdout: true })).rejects.toMatchObject({
      code: 9,
    });
    await expect(server.runtime.attach({ containerId: "f".repeat(64), stdout: true })).rejects.toMatchObject({
      code: 5,
    });
    await expect(server.runtime.portForward({ podSandboxId: "f".repeat(64) })).rejects.toMatchObject({
      code: 5,
    });
    await created.remove();
  });
});

describe("a streaming server with TLS and little patience", () => {
  let secure: Berthd;
  let target: TestContainer;
  let dir: string;

  beforeAll(async () => {
    dir = await mkdtemp("/tmp/berth-tls-");
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    const files = ["-keyout", join(dir, "key.pem"), "-out", join(dir, "cert.pem")];
    await run("openssl", [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-days",
      "1",
      ...subject,
      ...files,
    ]);
    secure = await Berthd.start({
      flags: [
        ...["--stream-tls-cert", join(dir, "cert.pem"), "--stream-tls-key", join(dir, "key.pem")],
        ...["--stream-idle-timeout-seconds", "2"],
      ],
    });
    await pull(secure);
    target = await (await TestPod.run(secure)).start();
  });
  afterAll(async () => {
    await secure?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  /** crictl wants a certificate of its own; nobody asks for it. */
  function tls(): string[] {
    const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
    return ["--tls-ca", cert, "--tls-cert", cert, "--tls-key", key, "--tls-sni", "localhost"];
  }

  it.each(transports)("serves an exec over %s", async (transport) => {
    const line = [
      "exec",
      "--transport",
      transport,
      ...tls(),
      target.id,
      "sh",
      "-c",
      "head -c 30000000 /dev/zero",
    ];
    const { code, stdout, stderr } = await secure.crictl.outcomeOf(line);
    expect(`${code} ${stderr}`).toMatch(/^0 /);
    expect(stdout.length).toBe(30_000_000);
  });

  it.each(transports)("ends an exec over %s in which nothing happens", async (transport) => {
    const line = ["exec", "--transport", transport, ...tls(), target.id, "sleep", "6666"];
    const start = performance.now();
    await secure.crictl.outcomeOf(line);
    expect(performance.now() - start).toBeGreaterThan(1900);
    expect(performance.now() - start).toBeLessThan(10_000);
    await eventually(async () => expect(await target.sh("ps | grep -c '[s]leep 6666' || true")).toBe("0"));
  });
});
