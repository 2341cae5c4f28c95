import { expect, it } from "vitest";
import type { RunRequest } from "../../ports/monitor.ts";
import { createPluginRunner } from "./plugin-runner.ts";

const call = (type: string) => ({
  type,
  env: { CNI_COMMAND: "ADD" },
  stdin: Buffer.from("{}"),
  timeoutMs: 1000,
});
const fine = { exitCode: 0, stdout: Buffer.from("{}"), stderr: Buffer.of(), timedOut: false };

function fixture(run: (request: RunRequest) => Promise<typeof fine>) {
  return createPluginRunner({
    host: { run },
    binDirs: ["/nonexistent", "/bin"],
    inProcess: new Map([["berth", async (env) => ({ ...fine, stdout: Buffer.from(JSON.stringify(env)) })]]),
    environment: { PATH: "", HOME: "/root", NODE_OPTIONS: "--inspect" },
  });
}

it("looks in every directory and passes on only what plugins need", async () => {
  const seen: RunRequest[] = [];
  const runner = fixture(async (request) => {
    seen.push(request);
    return fine;
  });
  await runner.run(call("sh"));
  expect(seen[0]).toMatchObject({ path: "/bin/sh", timeoutMs: 1000 });
  expect(seen[0]?.env).toEqual({
    CNI_COMMAND: "ADD",
    CNI_PATH: "/nonexistent:/bin",
    HOME: "/root",
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  });
});

it("runs a plugin of its own without a process", async () => {
  const runner = fixture(() => Promise.reject(new Error("must not run")));
  const outcome = await runner.run(call("berth"));
  expect(JSON.parse(outcome.stdout.toString())).toMatchObject({
    CNI_COMMAND: "ADD",
    CNI_PATH: "/nonexistent:/bin",
  });
  expect(await runner.missing(["berth", "sh", "berth-no-such"])).toEqual(["berth-no-such"]);
});

it("says where it has looked", async () => {
  await expect(fixture(async () => fine).run(call("berth-no-such"))).rejects.toThrow(
    "CNI plugin berth-no-such is in none of /nonexistent, /bin",
  );
});

it("tries again while the program is being written", async () => {
  let attempts = 0;
  const runner = fixture(async () => {
    attempts += 1;
    if (attempts === 1) {
      throw new Error("execve: ETXTBSY");
    }
    return fine;
  });
  expect(await runner.run(call("sh"))).toMatchObject({ exitCode: 0 });
  expect(attempts).toBe(2);
});
