import { BerthError } from "../../errors/berth-error.ts";
import type { SessionRequest } from "../../ports/monitor.ts";
import type { StreamTargets } from "../../ports/stream-targets.ts";

/** What a token stands for. */
export type StreamRequest =
  | {
      readonly kind: "exec";
      readonly containerId: string;
      readonly command: readonly string[];
      readonly streams: SessionRequest;
    }
  | { readonly kind: "attach"; readonly containerId: string; readonly streams: SessionRequest }
  | {
      readonly kind: "portforward";
      readonly sandboxId: string;
      readonly netnsPath: string;
      readonly ports: readonly number[];
    };

function checkStreams(streams: SessionRequest): void {
  if (streams.tty && streams.stderr) {
    throw new BerthError(
      "invalid-argument",
      "stderr true: a terminal has no stderr of its own, so tty excludes it",
    );
  }
  if (!streams.stdin && !streams.stdout && !streams.stderr) {
    throw new BerthError("invalid-argument", "stdin, stdout, stderr: all are false, one has to be true");
  }
}

/** Rejects `invalid-argument`, `container-not-found`, `wrong-state`. */
export async function prepareExec(
  targets: StreamTargets,
  containerId: string,
  command: readonly string[],
  streams: SessionRequest,
): Promise<StreamRequest> {
  checkStreams(streams);
  if ((command[0] ?? "") === "") {
    throw new BerthError("invalid-argument", "cmd: the command is empty");
  }
  const { id } = await targets.running(containerId);
  return { kind: "exec", containerId: id, command, streams };
}

/** As prepareExec. A terminal is the container's, so what the client says of it has to agree. */
export async function prepareAttach(
  targets: StreamTargets,
  containerId: string,
  streams: SessionRequest,
): Promise<StreamRequest> {
  checkStreams(streams);
  const { id, tty } = await targets.running(containerId);
  if (streams.tty && !tty) {
    throw new BerthError("invalid-argument", `tty true: container ${id} has no terminal`);
  }
  return { kind: "attach", containerId: id, streams: tty ? { ...streams, tty, stderr: false } : streams };
}

/** Ports are only the client's intention; each connection names its own. */
export async function preparePortForward(
  targets: StreamTargets,
  sandboxId: string,
  ports: readonly number[],
): Promise<StreamRequest> {
  const bad = ports.find((port) => !Number.isInteger(port) || port < 1 || port > 65535);
  if (bad !== undefined) {
    throw new BerthError("invalid-argument", `port ${bad}: not between 1 and 65535`);
  }
  const { id, netnsPath } = await targets.podNetwork(sandboxId);
  return { kind: "portforward", sandboxId: id, netnsPath, ports };
}
