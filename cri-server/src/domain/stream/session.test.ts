import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { type ClientSession, runAttach, runExec, type SessionOutcome } from "./session.ts";

function makeClient(highWaterMark = 16_384) {
  const gone = Promise.withResolvers<void>();
  const outcome = Promise.withResolvers<SessionOutcome>();
  let resize: (columns: number, rows: number) => void = () => {};
  const stdin = new PassThrough();
  const stdout = new PassThrough({ highWaterMark });
  const stderr = new PassThrough({ highWaterMark });
  const session: ClientSession = {
    stdin,
    stdout,
    stderr,
    closed: gone.promise,
    onResize: (listener) => {
      resize = listener;
    },
    finish: async (result) => {
      stdout.end();
      stderr.end();
      outcome.resolve(result);
    },
  };
  return {
    session,
    stdin,
    stdout,
    stderr,
    leave: gone.resolve,
    outcome: outcome.promise,
    resize: () => resize,
  };
}

function makeProcess() {
  const exit = Promise.withResolvers<number>();
  const seen = { killed: 0, closed: 0, sizes: [] as number[][] };
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
  const common = { ...streams, resize: (...size: number[]) => void seen.sizes.push(size) };
  const exec = {
    ...common,
    exit: exit.promise,
    kill: () => {
      seen.killed += 1;
      exit.resolve(137);
    },
  };
  const attach = {
    ...common,
    ended: exit.promise.then(() => undefined),
    close: () => {
      seen.closed += 1;
    },
  };
  return { ...streams, exec, attach, seen, end: exit.resolve };
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  let all = "";
  for await (const chunk of stream) {
    all += chunk.toString();
  }
  return all;
}

describe("runExec", () => {
  it("carries all streams, the end of stdin, sizes and the exit code", async () => {
    const client = makeClient();
    const process = makeProcess();
    const run = runExec(client.session, process.exec);
    const received = [text(client.stdout), text(client.stderr), text(process.stdin)];
    client.resize()(80, 24);
    client.stdin.end("typed");
    process.stdout.end("out");
    process.stderr.end("err");
    process.end(3);
    await run;
    expect(await Promise.all(received)).toEqual(["out", "err", "typed"]);
    expect(await client.outcome).toEqual({ kind: "exited", exitCode: 3 });
    expect(process.seen).toMatchObject({ sizes: [[80, 24]], killed: 0 });
  });

  it("kills the process when the client has gone", async () => {
    const client = makeClient();
    const process = makeProcess();
    const run = runExec(client.session, process.exec);
    client.leave();
    await run;
    expect(process.seen.killed).toBe(1);
    expect(process.stdout.destroyed && process.stdin.destroyed).toBe(true);
  });

  it("doesn't wait for a process that was left behind with the output open", async () => {
    const client = makeClient();
    const process = makeProcess();
    client.stdout.resume();
    const run = runExec(client.session, process.exec);
    process.stdout.write("still open");
    process.end(0);
    await run;
    expect(await client.outcome).toEqual({ kind: "exited", exitCode: 0 });
  });

  it("waits for a slow reader after the process has ended, and takes no more than it reads", async () => {
    const client = makeClient(1000);
    const process = makeProcess();
    const run = runExec(client.session, process.exec);
    process.end(0);
    for (let index = 0; index < 20; index += 1) {
      process.stdout.write(Buffer.alloc(1000));
    }
    process.stdout.end();
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(client.stdout.writableLength + client.stdout.readableLength).toBeLessThan(4000);
    expect((await text(client.stdout)).length).toBe(20_000);
    await run;
  });

  it("goes on when the process reads no more input", async () => {
    const client = makeClient();
    const process = makeProcess();
    client.stdout.resume();
    const run = runExec(client.session, process.exec);
    process.stdin.destroy(new Error("EPIPE"));
    for (let index = 0; index < 100; index += 1) {
      client.stdin.write(Buffer.alloc(10_000));
    }
    client.stdin.end();
    process.stdout.end();
    process.stderr.end();
    process.end(0);
    await run;
    expect(await client.outcome).toEqual({ kind: "exited", exitCode: 0 });
  });
});

describe("runAttach", () => {
  it("ends with the container", async () => {
    const client = makeClient();
    const process = makeProcess();
    client.stdout.resume();
    client.stderr.resume();
    const run = runAttach(client.session, process.attach);
    process.stdout.end();
    process.stderr.end();
    process.end(1);
    await run;
    expect(await client.outcome).toEqual({ kind: "exited", exitCode: 0 });
    expect(process.seen.closed).toBe(1);
  });

  it("lets go of the container when the client has gone", async () => {
    const client = makeClient();
    const process = makeProcess();
    const run = runAttach(client.session, process.attach);
    client.leave();
    await run;
    expect(process.seen).toMatchObject({ closed: 1, killed: 0 });
  });
});
