import { existsSync } from "node:fs";
import { readFile, rename } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { pull, TestPod } from "../lib/pod.ts";

let server: Berthd;

beforeAll(async () => {
  server = await Berthd.start();
  await pull(server);
});

afterAll(() => server[Symbol.asyncDispose]());

interface Line {
  readonly time: string;
  readonly stream: string;
  readonly tag: string;
  readonly text: string;
}

function parse(log: string): Line[] {
  return log
    .split("\n")
    .slice(0, -1)
    .map((line) => {
      const match = /^(\S+) (stdout|stderr) ([FP]) (.*)$/s.exec(line);
      if (match === null) throw new Error(`not a CRI log line: ${JSON.stringify(line)}`);
      const [, time = "", stream = "", tag = "", text = ""] = match;
      return { time, stream, tag, text };
    });
}

describe("a log", () => {
  it("has time, stream, tag and text of every line, empty ones and bytes of any kind too", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("echo out; echo err >&2; echo; printf 'tab\\there\\r\\n'");
    await container.exited();
    const lines = parse(await container.log());
    expect(lines.map(({ stream, tag, text }) => [stream, tag, text])).toEqual(
      expect.arrayContaining([
        ["stdout", "F", "out"],
        ["stderr", "F", "err"],
        ["stdout", "F", ""],
        ["stdout", "F", "tab\there\r"],
      ]),
    );
    expect(lines).toHaveLength(4);
    for (const { time } of lines) {
      expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$/);
      expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000);
    }
  });

  it("keeps a last line without a line break, and cuts a long one into parts", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("head -c 50000 /dev/zero | tr '\\0' x; echo; printf end");
    await container.exited();
    const lines = parse(await container.log());
    const full = lines.findIndex(({ tag }) => tag === "F");
    expect(full).toBeGreaterThanOrEqual(3);
    expect(
      lines
        .slice(0, full + 1)
        .map(({ text }) => text)
        .join(""),
    ).toBe("x".repeat(50_000));
    for (const { text } of lines) expect(text.length).toBeLessThanOrEqual(16_384);
    expect(
      lines
        .slice(full + 1)
        .map(({ text }) => text)
        .join(""),
    ).toBe("end");
  });

  it("is whole under load: 20 MB of short lines", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("yes 0123456789012345678901234567890123456789 | head -n 500000");
    await container.exited(60_000);
    const log = await container.log();
    expect(log.split("\n").length - 1).toBe(500_000);
    expect(log.endsWith(" stdout F 0123456789012345678901234567890123456789\n")).toBe(true);
  }, 90_000);

  it("takes a terminal's output as standard output", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.start({
      command: ["/bin/sh", "-c", "test -t 1 && echo tty; echo err >&2"],
      tty: true,
    });
    await container.exited();
    expect(parse(await container.log()).map(({ stream, text }) => `${stream} ${text.trim()}`)).toEqual([
      "stdout tty",
      "stdout err",
    ]);
  });
});

describe("ReopenContainerLog", () => {
  it("goes on in a new file, and loses and doubles nothing", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("i=0; while :; do echo $i; i=$((i+1)); sleep 0.001; done");
    const old: string[] = [];
    for (let round = 0; round < 5; round += 1) {
      await sleep(150);
      const rotated = `${container.logPath}.${round}`;
      await rename(container.logPath, rotated);
      await server.runtime.reopenContainerLog({ containerId: container.id });
      expect(existsSync(container.logPath)).toBe(true);
      const size = (await readFile(rotated)).length;
      await sleep(50);
      expect((await readFile(rotated)).length).toBe(size);
      old.push(await readFile(rotated, "utf8"));
    }
    await container.stop();
    const numbers = parse(old.join("") + (await container.log())).map(({ text }) => Number(text));
    expect(numbers.length).toBeGreaterThan(20);
    expect(numbers).toEqual(Array.from(numbers, (_, index) => index));
  });

  it("makes the file anew when it has vanished, and makes none for an ended container", async () => {
    await using pod = await TestPod.run(server);
    const container = await pod.script("while :; do echo x; sleep 0.02; done");
    await rename(container.logPath, `${container.logPath}.gone`);
    await server.runtime.reopenContainerLog({ containerId: container.id });
    await eventually(async () => expect(await container.log()).toContain("stdout F x"));
    await container.stop();
    await rename(container.logPath, `${container.logPath}.ended`);
    await expect(server.runtime.reopenContainerLog({ containerId: container.id })).rejects.toThrow();
    expect(existsSync(container.logPath)).toBe(false);
  });
});
