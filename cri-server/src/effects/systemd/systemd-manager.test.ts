import { mkdtemp, rm } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { DbusMessage } from "./dbus-message.ts";
import { encodeMessage, MessageStream } from "./dbus-message.ts";
import type { DbusValue } from "./dbus-types.ts";
import { SystemdManager } from "./systemd-manager.ts";

/** One connection as systemd (or a bus) sees it. */
class Peer {
  readonly #socket: Socket;
  #serial = 0;

  constructor(socket: Socket, onCall: (call: DbusMessage, peer: Peer) => void) {
    this.#socket = socket;
    const stream = new MessageStream();
    let greeting = Buffer.alloc(0);
    let isOpen = false;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      if (!isOpen) {
        const isFirst = greeting.length === 0;
        greeting = Buffer.concat([greeting, chunk]);
        if (isFirst) socket.write("OK 0123456789abcdef0123456789abcdef\r\n");
        const begin = greeting.indexOf("BEGIN\r\n");
        if (begin < 0) return;
        expect(greeting.toString("latin1", 0, begin)).toMatch(/^\0AUTH EXTERNAL [0-9a-f]+\r\n$/);
        isOpen = true;
        chunk = greeting.subarray(begin + 7);
      }
      for (const call of stream.push(chunk)) onCall(call, this);
    });
  }

  hangUp(): void {
    this.#socket.destroy();
  }

  answer(call: DbusMessage, signature = "", body: readonly DbusValue[] = []): void {
    this.#send({ kind: "return", replySerial: call.serial, signature, body });
  }

  refuse(call: DbusMessage, errorName: string): void {
    this.#send({
      kind: "error",
      replySerial: call.serial,
      errorName,
      signature: "s",
      body: ["it is so"],
    });
  }

  jobRemoved(job: string, unit: string, result: string): void {
    this.#send({
      kind: "signal",
      path: "/org/freedesktop/systemd1",
      interface: "org.freedesktop.systemd1.Manager",
      member: "JobRemoved",
      signature: "uoss",
      body: [1, job, unit, result],
    });
  }

  #send(fields: Partial<DbusMessage> & Pick<DbusMessage, "kind">): void {
    this.#serial += 1;
    const none = { path: "", interface: "", member: "", errorName: "", destination: "" };
    const message = { ...none, replySerial: 0, signature: "", body: [], ...fields, serial: this.#serial };
    this.#socket.write(encodeMessage(message));
  }
}

let dir: string;
let server: Server;
let calls: DbusMessage[];
let onCall: (call: DbusMessage, peer: Peer) => void;

beforeEach(async () => {
  dir = await mkdtemp("/tmp/berth-dbus-");
  calls = [];
  server = createServer((socket) => {
    new Peer(socket, (call, peer) => {
      calls.push(call);
      onCall(call, peer);
    });
  });
  await new Promise<void>((resolve) => server.listen(join(dir, "socket"), resolve));
});

afterEach(async () => {
  server.close();
  await rm(dir, { recursive: true });
});

const manager = (isBus = false) =>
  new SystemdManager([
    { path: join(dir, "none"), isBus: true },
    { path: join(dir, "socket"), isBus },
  ]);
const request = { name: "a.scope", slice: "b.slice", pid: 7, properties: [] };
const systemd = "org.freedesktop.systemd1";

describe("SystemdManager", () => {
  it("starts a scope and waits for its own job's end, told late or early", async () => {
    for (const isEarly of [true, false]) {
      onCall = (call, peer) => {
        peer.jobRemoved("/job/1", "other.scope", "done");
        if (isEarly) peer.jobRemoved("/job/1", "a.scope", "done");
        peer.answer(call, "o", ["/job/1"]);
        if (!isEarly) setTimeout(() => peer.jobRemoved("/job/1", "a.scope", "done"), 20);
      };
      const units = manager();
      await units.startScope(request);
      units.close();
    }
    expect(calls[0]?.destination).toBe("");
    expect(calls[0]?.body).toEqual([
      "a.scope",
      "fail",
      [
        ["Slice", { signature: "s", value: "b.slice" }],
        ["PIDs", { signature: "au", value: [7] }],
      ],
      [],
    ]);
  });

  it("says hello to a bus and asks it for signals", async () => {
    onCall = (call, peer) => {
      if (call.interface !== `${systemd}.Manager` || call.member === "Subscribe") return peer.answer(call);
      peer.answer(call, "o", ["/job/1"]);
      peer.jobRemoved("/job/1", "a.scope", "done");
    };
    const units = manager(true);
    await units.stop("a.scope");
    units.close();
    expect(calls.map(({ member }) => member)).toEqual(["Hello", "AddMatch", "Subscribe", "StopUnit"]);
    expect(calls.at(-1)?.destination).toBe(systemd);
  });

  it("tells why a unit is refused or fails", async () => {
    onCall = (call, peer) => peer.refuse(call, `${systemd}.UnitExists`);
    const units = manager();
    await expect(units.startScope(request)).rejects.toThrow(
      `systemd unit a.scope: ${systemd}.UnitExists: it is so`,
    );
    onCall = (call, peer) => {
      peer.answer(call, "o", ["/job/2"]);
      peer.jobRemoved("/job/2", "a.scope", "failed");
    };
    await expect(units.startScope(request)).rejects.toThrow('the job ended as "failed"');
    units.close();
  });

  it("takes a unit that is gone as stopped", async () => {
    onCall = (call, peer) => peer.refuse(call, `${systemd}.NoSuchUnit`);
    const units = manager();
    await units.stop("a.scope");
    units.close();
  });

  it("connects again after a loss, and takes what the first call has done", async () => {
    onCall = (call, peer) => {
      if (calls.length === 1) peer.hangUp();
      else peer.refuse(call, `${systemd}.UnitExists`);
    };
    const units = manager();
    await units.startScope(request);
    expect(calls).toHaveLength(2);
    onCall = (call, peer) => {
      peer.answer(call, "o", ["/job/3"]);
      if (calls.length === 3) peer.hangUp();
      else peer.jobRemoved("/job/3", "a.scope", "done");
    };
    await units.stop("a.scope");
    expect(calls).toHaveLength(4);
    units.close();
  });

  it("says where it looked when systemd isn't there", async () => {
    const units = new SystemdManager([{ path: join(dir, "none"), isBus: false }]);
    await expect(units.connect()).rejects.toThrow("systemd: can't be reached at");
    await expect(units.stop("a.scope")).rejects.toThrow(`systemd: can't be reached at ${dir}/none`);
  });
});
