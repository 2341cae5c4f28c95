/** What downloads say of themselves. */
export interface DownloadMeter {
  /** Bytes of layers came from a registry. */
  received(bytes: number): void;
  /** A request to a registry is made again, or at another host. */
  retried(): void;
}

/** What the use-cases and edges tell whoever counts. Only there when somebody does: a server without metrics pays nothing. */
export interface Telemetry extends DownloadMeter {
  /** `code` is the gRPC status. */
  callEnded(rpc: string, code: number, milliseconds: number): void;
  /** A pod or container was made or started; milliseconds by step (lib/steps.ts). */
  stepsTaken(what: "pod" | "container", milliseconds: Readonly<Record<string, number>>): void;
  rollbackStepFailed(what: "pod" | "container"): void;
  /** One call of one CNI plugin. */
  pluginCallEnded(command: string, isFailed: boolean, milliseconds: number): void;
  pullStarted(): void;
  /** `outcome` is "ok" or a code of the catalogue. */
  pullEnded(outcome: string, milliseconds: number): void;
}
