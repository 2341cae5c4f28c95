import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LaunchPlan } from "../../cri-server/src/model/plan.ts";
import type { Monitor } from "../../cri-server/src/ports/monitor.ts";
import { exitOf, type MonitorFixture, makeMonitorFixture } from "./monitor-fixture.ts";

let fixture: MonitorFixture;
let monitor: Monitor;
let plan: LaunchPlan;

beforeAll(async () => {
  fixture = await makeMonitorFixture(1);
  ({ monitor } = await fixture.pod());
  plan = await fixture.plan("sleep 10000");
  await fixture.running(monitor, plan);
});
afterAll(() => fixture.cleanUp());

async function textOf(stream: NodeJS.ReadableStream | undefined): Promise<string> {
  let text = "";
  if (stream === undefined) return text;
  for await (const chunk of stream) text += String(chunk);
  return text;
}

/** What has come until it matches. */
function until(stream: NodeJS.ReadableStream | undefined, pattern: RegExp): Promise<string> {
  return new Promise((found, failed) => {
    let text = "";
    const look = (chunk: Buffer) => {
      text += String(chunk);
      if (!pattern.test(text)) return;
      stream?.off("data", look);
      found(text);
    };
    stream?.on("data", look);
    stream?.on("end", () => failed(new Error(`ended at ${JSON.stringify(text)}`)));
  });
}

const shell = (script: string, change = {}) => fixture.containers.exec(plan, ["sh", "-c", script], change);
const both = { stdin: false, stdout: true, stderr: true, tty: false };
const terminal = { stdin: true, stdout: true, stderr: false, tty: true };

describe("execSync", () => {
  it("gives both outputs and the code", async () => {
    expect(await monitor.execSync(shell("echo a; echo b >&2; exit 9"), 5000, 1000)).toEqual({
      exitCode: 9,
      timedOut: false,
      stdout: Buffer.from("a\n"),
      stderr: Buffer.from("b\n"),
    });
  });

  it("keeps no more than asked, and lets the process end", async () => {
    const outcome = await monitor.execSync(shell("head -c 3000000 /dev/zero; echo x >&2"), 10000, 100_000);
    expect([outcome.exitCode, outcome.stdout.length, outcome.stderr.length]).toEqual([0, 100_000, 2]);
  });

  it("brings sixteen megabytes of each whole", async () => {
    const size = 16 << 20;
    const outcome = await monitor.execSync(
      shell(`head -c ${size} /dev/zero & head -c ${size} /dev/zero >&2; wait`),
      20000,
      size,
    );
    expect([outcome.stdout.length, outcome.stderr.length]).toEqual([size, size]);
  });

  it("kills the process and its children when the time is up", async () => {
    const started = performance.now();
    const outcome = await monitor.execSync(
      shell("setsid sleep 777 & sleep 778 & echo first; wait"),
      300,
      1000,
    );
    expect(performance.now() - started).toBeLessThan(1000);
    expect(outcome).toMatchObject({ timedOut: true, exitCode: 137 });
    expect(outcome.stdout.toString()).toBe("first\n");
    const { stdout } = await monitor.execSync(shell("ps"), 5000, 10000);
    expect(stdout.toString()).not.toMatch(/sleep 77[78]/);
  });

  it("answers when the process ends though a grandchild keeps its output", async () => {
    const started = performance.now();
    const outcome = await monitor.execSync(shell("sleep 3 & echo done"), 10000, 1000);
    expect(performance.now() - started).toBeLessThan(500);
    expect(outcome).toMatchObject({ exitCode: 0, stdout: Buffer.from("done\n") });
  });

  it("tells a command that is not there from one that fails", async () => {
    await expect(
      monitor.execSync(fixture.containers.exec(plan, ["/no/such"]), 1000, 1000),
    ).rejects.toMatchObject({ code: "exec-failed", message: expect.stringContaining("ENOENT") });
    await expect(
      monitor.execSync({ ...shell("true"), containerId: "nobody" }, 1000, 1000),
    ).rejects.toMatchObject({ code: "container-not-found" });
  });

  it("ends when it is cancelled", async () => {
    const abort = new AbortController();
    const outcome = monitor.execSync(shell("sleep 555"), 0, 1000, abort.signal);
    await sleep(50);
    abort.abort();
    await expect(outcome).rejects.toMatchObject({ code: "cancelled" });
    const { stdout } = await monitor.execSync(shell("ps"), 5000, 10000);
    expect(stdout.toString()).not.toContain("sleep 555");
  });

  it("runs many at once", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, (_, index) => monitor.execSync(shell(`exit ${index}`), 20000, 1000)),
    );
    expect(outcomes.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 40 }, (_, index) => index));
  });
});

describe("exec", () => {
  it("streams three ways and half-closes stdin", async () => {
    const session = await monitor.exec(shell("echo go >&2; cat; exit 4"), { ...both, stdin: true });
    session.stdin?.write("hello ");
    session.stdin?.end("world");
    const [out, err] = await Promise.all([textOf(session.stdout), textOf(session.stderr)]);
    expect([out, err, await session.exit]).toEqual(["hello world", "go\n", 4]);
  });

  it("brings all of a large output to a slow reader", async () => {
    const session = await monitor.exec(shell("head -c 20000000 /dev/zero"), both);
    await sleep(100);
    let bytes = 0;
    for await (const chunk of session.stdout ?? []) bytes += chunk.length;
    expect([bytes, await session.exit]).toEqual([20000000, 0]);
  });

  it("has a terminal of the size asked for", async () => {
    const session = await monitor.exec(shell("read x; stty size; tty; exit 6", { tty: true }), terminal);
    session.resize(132, 43);
    session.stdin?.write("go\n");
    const text = await textOf(session.stdout);
    expect(text).toContain("43 132");
    expect(text).toContain("/dev/pts/");
    expect(await session.exit).toBe(6);
  });

  it("loses nothing of a terminal's output when the client is slow", async () => {
    const session = await monitor.exec(shell("seq 1 50000", { tty: true }), terminal);
    await sleep(300);
    const text = await textOf(session.stdout);
    expect(text.trimEnd().split("\r\n")).toHaveLength(50000);
    expect(await session.exit).toBe(0);
  });

  it("kills what runs when told so, and when the client goes", async () => {
    const session = await monitor.exec(shell("sleep 444"), both);
    session.kill();
    expect(await session.exit).toBe(137);
    const { stdout } = await monitor.execSync(shell("ps"), 5000, 10000);
    expect(stdout.toString()).not.toContain("sleep 444");
  });

  it("refuses a command that is not there", async () => {
    await expect(monitor.exec(fixture.containers.exec(plan, ["/no/such"]), both)).rejects.toMatchObject({
      code: "exec-failed",
    });
    await expect(
      monitor.exec(fixture.containers.exec(plan, ["/no/such"], { tty: true }), terminal),
    ).rejects.toMatchObject({ code: "exec-failed" });
  });
});

describe("attach", () => {
  it("shares the output, and closes stdin with the first session if asked", async () => {
    const logPath = `${fixture.directory}/attach-log`;
    const container = await fixture.plan("while read x; do echo got $x; done; echo end >&2; exit 2", {
      io: { stdin: true, stdinOnce: true, logPath, maxLogLine: 16384 },
    });
    await fixture.running(monitor, container);
    const first = await monitor.attach(container.containerId, { ...both, stdin: true });
    const second = await monitor.attach(container.containerId, both);
    const seen = Promise.all([first.stdout, second.stdout, first.stderr, second.stderr].map(textOf));
    first.stdin?.write("one\n");
    first.stdin?.end("two\n");
    expect(await exitOf(monitor, container.containerId)).toMatchObject({ exitCode: 2 });
    expect(await seen).toEqual(["got one\ngot two\n", "got one\ngot two\n", "end\n", "end\n"]);
    await Promise.all([first.ended, second.ended]);
    expect(await readFile(logPath, "utf8")).toContain("stdout F got two\n");
    await expect(monitor.attach(container.containerId, both)).rejects.toMatchObject({ code: "wrong-state" });
    await monitor.remove(container.containerId);
  });

  it("keeps stdin open over sessions if not", async () => {
    const container = await fixture.plan("while read x; do echo got $x; done", {
      io: { stdin: true, stdinOnce: false, logPath: "", maxLogLine: 16384 },
    });
    await fixture.running(monitor, container);
    for (const word of ["one", "two"]) {
      const session = await monitor.attach(container.containerId, { ...both, stdin: true });
      const got = until(session.stdout, /got/);
      session.stdin?.end(`${word}\n`);
      expect(await got).toBe(`got ${word}\n`);
      session.close();
      await session.ended;
    }
    await monitor.kill(container.containerId, 9, true);
    await exitOf(monitor, container.containerId);
    await monitor.remove(container.containerId);
  });

  it("passes a flood through stdin whole", async () => {
    const container = await fixture.plan("wc -c", {
      io: { stdin: true, stdinOnce: true, logPath: "", maxLogLine: 16384 },
    });
    await fixture.running(monitor, container);
    const session = await monitor.attach(container.containerId, { ...both, stdin: true });
    const text = textOf(session.stdout);
    for (let piece = 0; piece < 50; piece++) {
      if (session.stdin?.write(Buffer.alloc(100_000, 65)) === false) await once(session.stdin, "drain");
    }
    session.stdin?.end();
    expect((await text).trim()).toBe("5000000");
    await session.ended;
    await monitor.remove(container.containerId);
  });

  it("reaches a terminal, which keeps its log", async () => {
    const logPath = `${fixture.directory}/tty-log`;
    const container = await fixture.plan(
      "while read x; do stty size; echo got $x; done",
      { io: { stdin: true, stdinOnce: false, logPath, maxLogLine: 16384 } },
      { tty: true },
    );
    await fixture.running(monitor, container);
    const session = await monitor.attach(container.containerId, terminal);
    session.resize(100, 50);
    const got = until(session.stdout, /got hello/);
    session.stdin?.write("hello\n");
    expect(await got).toContain("50 100");
    session.stdin?.write("\u0004");
    await session.ended;
    expect(await readFile(logPath, "utf8")).toMatch(/stdout F got hello\r\n/);
    await monitor.remove(container.containerId);
  });

  it("does not let one that reads nothing stop the container for ever", { timeout: 30_000 }, async () => {
    const container = await fixture.plan("head -c 30000000 /dev/zero | tr '\\0' '\\n'", {
      io: { stdin: false, stdinOnce: false, logPath: "", maxLogLine: 16384 },
    });
    await monitor.create(container.containerId === "" ? plan : container);
    await monitor.start(container.containerId);
    const session = await monitor.attach(container.containerId, both);
    expect(await exitOf(monitor, container.containerId)).toMatchObject({ exitCode: 0 });
    session.close();
    await monitor.remove(container.containerId);
  });
});
