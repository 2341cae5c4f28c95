import { Signal } from "../../../proto/gen/api.ts";
import { signalNumber } from "../model/signals.ts";
import { invalid } from "./check.ts";

/** ContainerConfig.stop_signal as a Linux number; undefined for the runtime's default. The enum's own numbers are alphabetical. */
export function toLinuxSignal(signal: number): number | undefined {
  if (signal === Signal.SIGNAL_RUNTIME_DEFAULT) {
    return undefined;
  }
  const entry = Object.entries(Signal).find(([name, number]) => number === signal && name !== "UNRECOGNIZED");
  const number = entry === undefined ? undefined : signalNumber(entry[0].replace(/^SIGNAL_/, ""));
  if (number === undefined) {
    throw invalid("stop_signal", signal, "not a signal");
  }
  return number;
}
