/** Every place where a test can make an operation fail, wait, or take the whole server down. */
export const failpointNames = [
  "sandbox.run.intent",
  "sandbox.run.cgroup",
  "sandbox.run.files",
  "sandbox.run.monitor",
  "sandbox.run.network",
  "sandbox.run.record",
  "sandbox.stop.detach",
  "sandbox.remove.shutdown",
  "container.create.lease",
  "container.create.plan",
  "container.create.intent",
  "container.create.layer",
  "container.create.monitor",
  "container.create.record",
  "container.start.monitor",
  "container.start.record",
  "container.remove.cleanup",
  "undo.step",
] as const;

export type FailpointName = (typeof failpointNames)[number];

type Action =
  | { readonly kind: "error" }
  | { readonly kind: "crash" }
  | { readonly kind: "delay"; readonly milliseconds: number };

interface Armed {
  readonly action: Action;
  /** How many times it still acts; Infinity without a count. */
  left: number;
}

/** Calling it is a no-op unless that point is armed. */
export type Failpoint = (name: FailpointName) => Promise<void>;

const syntax = /^(?:(\d+)\*)?(error|crash|delay\((\d+)\))$/;

/**
 * `BERTH_FAILPOINTS` is `name=[N*]action` parted by `;`, where action is `error`, `crash` (SIGKILL to the server) or
 * `delay(ms)`, and N limits how often it acts. For tests only; unset it costs one comparison a step.
 */
export function makeFailpoint(specification: string | undefined): Failpoint {
  if (specification === undefined || specification === "") {
    return async () => {};
  }
  const armed = parse(specification);
  return async (name) => {
    const point = armed.get(name);
    if (point === undefined || point.left === 0) {
      return;
    }
    point.left -= 1;
    await act(point.action, name);
  };
}

async function act(action: Action, name: FailpointName): Promise<void> {
  switch (action.kind) {
    case "error":
      throw new Error(`failpoint ${name}`);
    case "crash":
      process.kill(process.pid, "SIGKILL");
      return;
    case "delay":
      await new Promise((resolve) => setTimeout(resolve, action.milliseconds));
      return;
  }
}

function parse(specification: string): Map<FailpointName, Armed> {
  const armed = new Map<FailpointName, Armed>();
  for (const entry of specification.split(";")) {
    const cut = entry.indexOf("=");
    const name = failpointNames.find((known) => known === entry.slice(0, cut).trim());
    const match = syntax.exec(entry.slice(cut + 1).trim());
    if (name === undefined || match === null) {
      throw new Error(`BERTH_FAILPOINTS: cannot understand ${JSON.stringify(entry)}`);
    }
    armed.set(name, { action: toAction(match), left: match[1] === undefined ? Infinity : Number(match[1]) });
  }
  return armed;
}

function toAction(match: RegExpExecArray): Action {
  if (match[3] !== undefined) {
    return { kind: "delay", milliseconds: Number(match[3]) };
  }
  return match[2] === "crash" ? { kind: "crash" } : { kind: "error" };
}
