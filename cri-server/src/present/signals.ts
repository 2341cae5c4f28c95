import { Signal } from "../../../proto/gen/api.ts";
import { signalNumber } from "../model/signals.ts";

/** The enum's value of a Linux number, for ContainerStatus.stop_signal. */
export function fromLinuxSignal(number: number): Signal {
  // The first name with this number: SIGCHLD and not SIGCLD, SIGIO and not SIGPOLL.
  const known = Object.entries(Signal).find(
    ([name]) => name.startsWith("SIGNAL_SIG") && signalNumber(name.replace(/^SIGNAL_/, "")) === number,
  );
  return known?.[1] ?? Signal.SIGNAL_RUNTIME_DEFAULT;
}
