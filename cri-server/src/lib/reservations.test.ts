import { describe, expect, it } from "vitest";
import { Reservations } from "./reservations.ts";

const refuse = (): Error => new Error("taken");

describe("Reservations", () => {
  it("refuses a second holder while the first has a client", async () => {
    const reservations = new Reservations();
    const gate = Promise.withResolvers<string>();
    const first = reservations.run("pod", new AbortController().signal, refuse, () => gate.promise);
    const second = reservations.run("pod", new AbortController().signal, refuse, async () => "second");
    await expect(second).rejects.toThrow("taken");
    gate.resolve("first");
    expect(await first).toBe("first");
  });

  it("lets a retry wait for the rollback of a call whose client has gone", async () => {
    const reservations = new Reservations();
    const client = new AbortController();
    const rollback = Promise.withResolvers<never>();
    const first = reservations.run("pod", client.signal, refuse, () => rollback.promise);
    client.abort();
    const retry = reservations.run("pod", new AbortController().signal, refuse, async () => "again");
    rollback.reject(new Error("deadline"));
    await expect(first).rejects.toThrow("deadline");
    expect(await retry).toBe("again");
  });
});
