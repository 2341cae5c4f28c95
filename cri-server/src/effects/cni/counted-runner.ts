import type { PluginRunner } from "../../ports/cni.ts";
import type { Telemetry } from "../../ports/telemetry.ts";

/** The same runner; each call's command, outcome and duration are told. */
export function countedRunner(
  runner: PluginRunner,
  telemetry: Pick<Telemetry, "pluginCallEnded">,
): PluginRunner {
  return {
    searched: runner.searched,
    missing: async (types) => await runner.missing(types),
    run: async (call, signal) => {
      const started = performance.now();
      const end = (isFailed: boolean): void =>
        telemetry.pluginCallEnded(call.env.CNI_COMMAND ?? "", isFailed, performance.now() - started);
      try {
        const outcome = await runner.run(call, signal);
        end(outcome.exitCode !== 0 || outcome.timedOut);
        return outcome;
      } catch (error) {
        end(true);
        throw error;
      }
    },
  };
}
