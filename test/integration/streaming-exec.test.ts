import { spawn } from "node:child_process";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { outcomeOf } from "../lib/command.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, type TestContainer, TestPod } from "../lib/pod.ts";
import { longSource, longTransfer, pattern, Streaming, transports } from "../lib/streaming.ts";

// Exec by stock crictl, over both transports.

let server: Berthd;
let pod: TestPod;
let container: TestContainer;
let streaming: Streaming;

beforeAll(async () => {
  server = await Berthd.start();
  streaming = new Streaming(server);
  await pull(server);
  pod = await TestPod.run(server);
  container = await pod.start();
});
afterAll(async () => {
  await pod?.remove();
  await server?.[Symbol.asyncDispose]();
});

async function processesIn(command: string): Promise<number> {
  return Number(await container.sh(`ps | grep -v grep | grep -c '${command}' || true`));
}

describe.each(transports)("exec over %s", (transport) => {
  const exec = (...args: string[]) => ["exec", "--transport", transport, ...args];

  it("carries both outputs and the exit code", async () => {
    const outcome = await server.crictl.outcomeOf(
      exec(container.id, "sh", "-c", "echo out; echo err >&2; exit 3"),
    );
    expect(outcome.stdout).toBe("out\n");
    expect(outcome.stderr).toContain("err\n");
    expect(outcome.stderr).toContain("exit code 3");
  });

  it("hands on the end of stdin", async () => {
    const outcome = await server.crictl.outcomeOf(exec("-i", container.id, "sh", "-c", "cat; echo end"), {
      input: "typed\n",
    });
    expect(outcome).toMatchObject({ code: 0, stdout: "typed\nend\n" });
  });

  it("reports a command that doesn't exist", async () => {
    const outcome = await server.crictl.outcomeOf(exec(container.id, "no-such-command"));
    expect(outcome.code).not.toBe(0);
    expect(outcome.stderr).toContain("no-such-command");
  });

  it("doesn't wait for what the command leaves running", async () => {
    const start = performance.now();
    const outcome = await server.crictl.outcomeOf(exec(container.id, "sh", "-c", "sleep 20 & echo done"));
    expect(outcome).toMatchObject({ code: 0, stdout: "done\n" });
    expect(performance.now() - start).toBeLessThan(5000);
  });

  it("gives the command a terminal of the client's size", async () => {
    const line = streaming.command(exec("-it", container.id, "sh", "-c", "'sleep 0.5; stty size; tty'"));
    const child = spawn("script", ["-qec", `stty rows 33 cols 101; ${line}`, "/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const chunks = await child.stdout.toArray();
    expect(Buffer.concat(chunks).toString()).toContain("33 101\r\n/dev/pts/");
  });

  it(`brings ${longTransfer} out intact, with flat memory and prompt answers`, async () => {
    const expected = await streaming.checksum();
    const seen = await streaming.transfer(
      `exec ${transport} out`,
      `${streaming.command(exec(container.id, "sh", "-c", `'${longSource("/tmp/block")}'`))} | sha256sum`,
    );
    expect(seen.result).toBe(expected);
    expect(seen.peak - seen.before).toBeLessThan(64);
    expect(seen.p50).toBeLessThan(10);
  });

  it(`brings ${longTransfer} in intact, with flat memory and prompt answers`, async () => {
    const expected = await streaming.checksum();
    const seen = await streaming.transfer(
      `exec ${transport} in`,
      `${streaming.source} | ${streaming.command(exec("-i", container.id, "sha256sum"))}`,
    );
    expect(seen.result).toBe(expected);
    expect(seen.peak - seen.before).toBeLessThan(64);
    expect(seen.p50).toBeLessThan(10);
  });

  it("brings all output and the exit code of a command that leaves its input unread", async () => {
    const script = "head -c 5 > /dev/null; seq 1 20000; exit 5";
    const line = streaming.command(exec("-i", container.id, "sh", "-c", `'${script}'`));
    const outcome = await outcomeOf("sh", ["-c", `cat /dev/zero | ${line}`]);
    expect(outcome.stdout.split("\n").length).toBe(20_001);
    expect(outcome.stderr).toContain("exit code 5");
  });

  it("serves fifty at once, and keeps none of their files", async () => {
    const files = streaming.openFiles();
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        server.crictl.outcomeOf(exec("-i", container.id, "sh", "-c", `cat; exit ${index % 7}`), {
          input: `input ${index}`,
        }),
      ),
    );
    expect(outcomes.map(({ stdout }) => stdout)).toEqual(outcomes.map((_, index) => `input ${index}`));
    for (const [index, { code, stderr }] of outcomes.entries()) {
      expect(index % 7 === 0 ? code : stderr).toEqual(
        index % 7 === 0 ? 0 : expect.stringContaining(`exit code ${index % 7}`),
      );
    }
    await eventually(() => expect(streaming.openFiles()).toBeLessThanOrEqual(files));
  });

  it("takes no more than a slow reader takes", async () => {
    const before = streaming.memory();
    const child = streaming.crictl(...exec(container.id, "sh", "-c", "cat /dev/zero | head -c 100000000"));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(streaming.memory() - before).toBeLessThan(60);
    let total = 0;
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      total += chunk.length;
    }
    expect(total).toBe(100_000_000);
  });

  it("waits for a command that reads late", async () => {
    const before = streaming.memory();
    const child = streaming.crictl(...exec("-i", container.id, "sh", "-c", "sleep 1.5; wc -c"));
    Readable.from(pattern(100_000_000)).pipe(child.stdin);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(streaming.memory() - before).toBeLessThan(60);
    expect(
      Buffer.concat(await child.stdout.toArray())
        .toString()
        .trim(),
    ).toBe("100000000");
  });

  it.each([
    ["waits", ["sleep", "7777"]],
    ["writes", ["sh", "-c", "yes 7777"]],
    ["reads nothing", ["sh", "-c", "sleep 7777"]],
  ])("leaves nothing of a client that vanishes while the command %s", async (_name, command) => {
    const files = streaming.openFiles();
    const child = streaming.crictl(...exec("-i", container.id, ...command));
    const feed = Readable.from(pattern(1 << 30)).pipe(child.stdin);
    child.stdout.pause();
    await eventually(async () => expect(await processesIn("7777")).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 300));
    child.kill("SIGKILL");
    feed.end();
    await eventually(async () => expect(await processesIn("7777")).toBe(0), 10_000);
    await eventually(() => expect(streaming.openFiles()).toBeLessThanOrEqual(files));
  });
});
