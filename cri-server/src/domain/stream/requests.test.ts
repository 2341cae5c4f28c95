import { describe, expect, it } from "vitest";
import type { StreamTargets } from "../../ports/stream-targets.ts";
import { prepareAttach, prepareExec, preparePortForward } from "./requests.ts";

const targets: StreamTargets = {
  running: async (id) => ({ id: `${id}-whole`, tty: id === "terminal", stdin: true }),
  podNetwork: async (id) => ({ id, netnsPath: "/run/netns/x" }),
  exec: () => Promise.reject(new Error("not here")),
  attach: () => Promise.reject(new Error("not here")),
};
const out = { stdin: false, stdout: true, stderr: false, tty: false };

describe("what a client may ask for", () => {
  it.each([
    [{ ...out, stdout: false }, "stdin, stdout, stderr"],
    [{ ...out, stderr: true, tty: true }, "stderr"],
  ])("refuses the streams %j", async (streams, names) => {
    for (const prepared of [
      prepareExec(targets, "a", ["ls"], streams),
      prepareAttach(targets, "a", streams),
    ]) {
      await expect(prepared).rejects.toMatchObject({
        code: "invalid-argument",
        message: expect.stringContaining(names),
      });
    }
  });

  it("refuses an empty command and a port that is none", async () => {
    await expect(prepareExec(targets, "a", [], out)).rejects.toThrow("cmd");
    await expect(prepareExec(targets, "a", [""], out)).rejects.toThrow("cmd");
    await expect(preparePortForward(targets, "a", [80, 0])).rejects.toThrow("port 0");
    await expect(preparePortForward(targets, "a", [65536])).rejects.toThrow("port 65536");
  });

  it("keeps the whole id", async () => {
    expect(await prepareExec(targets, "a", ["ls"], out)).toMatchObject({
      containerId: "a-whole",
      command: ["ls"],
    });
  });

  it("has no stderr of its own when the container has a terminal", async () => {
    const both = { ...out, stderr: true };
    expect(await prepareAttach(targets, "terminal", both)).toMatchObject({ streams: { ...out, tty: true } });
    await expect(prepareAttach(targets, "plain", { ...out, tty: true })).rejects.toThrow("no terminal");
  });
});
