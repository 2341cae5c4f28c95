/** Who asked for something, and for how long it waits for the answer. */
export interface Caller {
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
  /** When it gives up: milliseconds since the epoch, Infinity for never. */
  readonly deadline: number;
}

/** What an answer may take on its way to the client. */
const answerMs = 1000;

/**
 * Whether an answer given now may come too late. What was made is then handed out again when the client repeats its
 * request, as the kubelet does: to call it a conflict would wedge the pod.
 */
export function mayBeUnheard(caller: Caller): boolean {
  return caller.signal.aborted || Date.now() > caller.deadline - answerMs;
}
