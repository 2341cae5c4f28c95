import { writeFileSync } from "node:fs";

/**
 * Preloaded into a server under test (NODE_OPTIONS=--import): how long the longest turns of its event loop were, in processor
 * time of its thread, garbage collection included. (By the clock, a machine that does other things as well would be in the
 * figures; calls that wait are kept out of the server by the linter.) SIGUSR2 has the milliseconds of the longest since the
 * last signal written to $BERTH_LOOP_PROBE.
 */
const tickMs = 2;
let last = process.threadCpuUsage();
let turns: number[] = [];

setInterval(() => {
  const now = process.threadCpuUsage();
  const spent = (now.user - last.user + now.system - last.system) / 1000;
  last = now;
  // Two short turns between two looks are no long one.
  if (spent > tickMs) turns.push(spent);
}, tickMs).unref();

process.on("SIGUSR2", () => {
  const longest = turns.toSorted((a, b) => b - a).slice(0, 10);
  writeFileSync(process.env.BERTH_LOOP_PROBE ?? "", JSON.stringify(longest));
  turns = [];
});
