import { BerthError } from "../../errors/berth-error.ts";
import { DbusConnection, DbusError } from "./dbus-connection.ts";
import type { DbusValue } from "./dbus-types.ts";

/** A unit's property as systemd takes it. */
export interface UnitProperty {
  readonly name: string;
  readonly signature: string;
  readonly value: DbusValue;
}

export interface ScopeRequest {
  readonly name: string;
  readonly slice: string;
  readonly pid: number;
  readonly properties: readonly UnitProperty[];
}

/** What is asked of systemd. */
export interface SystemdUnits {
  /** Makes a scope around a process and resolves when the process is in it. */
  startScope(request: ScopeRequest): Promise<void>;
  /** Stops a unit and resolves when that is done. One that isn't there is fine. */
  stop(name: string): Promise<void>;
}

const systemd = "org.freedesktop.systemd1";
const manager = { path: "/org/freedesktop/systemd1", interface: `${systemd}.Manager` };
const busName = "org.freedesktop.DBus";
const bus = { destination: busName, path: "/org/freedesktop/DBus", interface: busName };

/** The documented way in, and systemd's own socket for machines without a message bus (and for a bus that restarts). */
const defaultSockets: readonly { readonly path: string; readonly isBus: boolean }[] = [
  { path: "/run/dbus/system_bus_socket", isBus: true },
  { path: "/run/systemd/private", isBus: false },
];

/** Longer than systemd's own 90 seconds for a stop. */
const jobTimeoutMs = 100_000;

interface Link {
  readonly connection: DbusConnection;
  /** "" without a bus. */
  readonly destination: string;
}

/** systemd's manager over D-Bus. Connects when it is needed, and again after a loss (daemon-reexec, a restarted bus). */
export class SystemdManager implements SystemdUnits {
  readonly #sockets: typeof defaultSockets;
  #link: Promise<Link> | undefined;

  constructor(sockets: typeof defaultSockets = defaultSockets) {
    this.#sockets = sockets;
  }

  /** Finds out whether systemd can be reached, so that a start says so and not the first pod. */
  async connect(): Promise<void> {
    await this.#connected();
  }

  async startScope({ name, slice, pid, properties }: ScopeRequest): Promise<void> {
    const all: readonly UnitProperty[] = [
      { name: "Slice", signature: "s", value: slice },
      { name: "PIDs", signature: "au", value: [pid] },
      ...properties,
    ];
    const pairs = all.map(({ name: key, signature, value }) => [key, { signature, value }]);
    await this.#again(name, async (link, isSecond) => {
      try {
        const body = [name, "fail", pairs, []];
        await runJob(link, name, { member: "StartTransientUnit", signature: "ssa(sv)a(sa(sv))", body });
      } catch (error) {
        // The first time was heard, and only its answer was lost.
        const isThere = error instanceof DbusError && error.errorName === `${systemd}.UnitExists`;
        if (!isSecond || !isThere) throw error;
      }
    });
  }

  async stop(name: string): Promise<void> {
    await this.#again(name, async (link) => {
      try {
        await runJob(link, name, { member: "StopUnit", signature: "ss", body: [name, "replace"] });
      } catch (error) {
        const isGone = error instanceof DbusError && error.errorName === `${systemd}.NoSuchUnit`;
        if (!isGone) throw error;
      }
    });
  }

  close(): void {
    this.#link?.then(
      ({ connection }) => connection.close(),
      () => {},
    );
  }

  /** Runs an action, and once more on a new connection when the first was lost. */
  async #again(unit: string, action: (link: Link, isSecond: boolean) => Promise<void>): Promise<void> {
    const link = await this.#connected();
    try {
      await action(link, false);
    } catch (error) {
      if (!link.connection.isClosed) throw failure(unit, error);
      try {
        await action(await this.#connected(), true);
      } catch (second) {
        throw failure(unit, second);
      }
    }
  }

  async #connected(): Promise<Link> {
    const known = this.#link;
    if (known !== undefined) {
      const link = await known.catch(() => undefined);
      if (link !== undefined && !link.connection.isClosed) return link;
    }
    // Another caller may have begun to connect meanwhile.
    if (this.#link === known) this.#link = this.#connect();
    return await (this.#link as Promise<Link>);
  }

  async #connect(): Promise<Link> {
    const failures: unknown[] = [];
    for (const { path, isBus } of this.#sockets) {
      try {
        const connection = await DbusConnection.open(path);
        if (isBus) await joinBus(connection);
        return { connection, destination: isBus ? systemd : "" };
      } catch (error) {
        failures.push(error);
      }
    }
    const tried = this.#sockets.map(({ path }) => path).join(", ");
    throw new BerthError("internal", `systemd: can't be reached at ${tried}`, {
      cause: new AggregateError(failures),
    });
  }
}

/** A bus sends signals to those only who ask, and systemd to the bus only when someone does. */
async function joinBus(connection: DbusConnection): Promise<void> {
  await connection.call({ ...bus, member: "Hello", signature: "", body: [] });
  const rule = `type='signal',sender='${systemd}',interface='${manager.interface}',member='JobRemoved'`;
  await connection.call({ ...bus, member: "AddMatch", signature: "s", body: [rule] });
  await connection.call({
    ...manager,
    destination: systemd,
    member: "Subscribe",
    signature: "",
    body: [],
  });
}

interface JobCall {
  readonly member: string;
  readonly signature: string;
  readonly body: readonly DbusValue[];
}

/** Calls a method that answers with a job, and waits for the job's end, which may be told before the answer. */
async function runJob(link: Link, unit: string, call: JobCall): Promise<void> {
  const { connection, destination } = link;
  const results = new Map<string, string>();
  const { promise: end, resolve } = Promise.withResolvers<string>();
  let job: string | undefined;
  const off = connection.onSignal(({ interface: from, member, body }) => {
    if (from !== manager.interface || member !== "JobRemoved" || body[2] !== unit) return;
    const [, ended, , result] = body.map(String);
    results.set(ended ?? "", result ?? "");
    if (ended === job) resolve(result ?? "");
  });
  const timer = setTimeout(() => resolve("still under way"), jobTimeoutMs);
  try {
    job = String((await connection.call({ ...manager, ...call, destination }))[0]);
    const result = results.get(job) ?? (await Promise.race([end, connection.closed]));
    if (result !== "done") throw new Error(`${call.member}: the job ended as ${JSON.stringify(result)}`);
  } finally {
    clearTimeout(timer);
    off();
  }
}

function failure(unit: string, error: unknown): BerthError {
  const why = error instanceof Error ? error.message : String(error);
  return new BerthError("internal", `systemd unit ${unit}: ${why}`, { cause: error });
}
