import { status } from "@grpc/grpc-js";
import type { Telemetry } from "../../ports/telemetry.ts";
import type { MetricName } from "./definitions.ts";
import type { MetricSet } from "./metric-set.ts";

/** Turns what the server tells into metrics. */
export class Meter implements Telemetry {
  readonly #set: MetricSet<MetricName>;
  #pulls = 0;

  constructor(set: MetricSet<MetricName>) {
    this.#set = set;
    // Scrapers compute rates: a counter that appears with its first event hides that event.
    for (const name of ["berth_pull_received_bytes_total", "berth_pull_retries_total"] as const) {
      set.add(name, [], 0);
    }
    for (const what of ["pod", "container"]) {
      set.add("berth_rollback_step_failures_total", [what], 0);
    }
    set.set("berth_pulls_in_flight", [], 0);
  }

  callEnded(rpc: string, code: number, milliseconds: number): void {
    const method = `${rpc.charAt(0).toUpperCase()}${rpc.slice(1)}`;
    this.#set.observe("berth_rpc_seconds", [method, status[code] ?? "UNKNOWN"], milliseconds / 1000);
  }

  stepsTaken(what: "pod" | "container", milliseconds: Readonly<Record<string, number>>): void {
    for (const [step, spent] of Object.entries(milliseconds)) {
      this.#set.observe("berth_start_step_seconds", [what, step], spent / 1000);
    }
  }

  rollbackStepFailed(what: "pod" | "container"): void {
    this.#set.add("berth_rollback_step_failures_total", [what]);
  }

  pluginCallEnded(command: string, isFailed: boolean, milliseconds: number): void {
    this.#set.observe("berth_cni_call_seconds", [command, isFailed ? "failed" : "ok"], milliseconds / 1000);
  }

  pullStarted(): void {
    this.#pulls += 1;
    this.#set.set("berth_pulls_in_flight", [], this.#pulls);
  }

  pullEnded(outcome: string, milliseconds: number): void {
    this.#pulls -= 1;
    this.#set.set("berth_pulls_in_flight", [], this.#pulls);
    this.#set.observe("berth_pull_seconds", [outcome], milliseconds / 1000);
  }

  received(bytes: number): void {
    this.#set.add("berth_pull_received_bytes_total", [], bytes);
  }

  retried(): void {
    this.#set.add("berth_pull_retries_total", []);
  }
}
