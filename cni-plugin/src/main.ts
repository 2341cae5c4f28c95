import { readFileSync, writeSync } from "node:fs";
import { createPlugin } from "./resident/plugin.ts";
import { supportedVersions } from "./spec/versions.ts";

// The plugin on its own, for when no server answers: one call, then the end. Nothing else runs in this process, so input
// and output may be waited for.

function environment(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

async function main(): Promise<number> {
  const env = environment();
  if ((env.CNI_COMMAND ?? "") === "") {
    process.stderr.write(
      `CNI plugin berth\nCNI protocol versions supported: ${supportedVersions.join(", ")}\n`,
    );
    return 0;
  }
  const plugin = createPlugin({
    ...(env.BERTH_CNI_RUN_DIR ? { runDir: env.BERTH_CNI_RUN_DIR } : {}),
    resident: false,
    // The launcher's child deletes links when this process has ended.
    leaveLinks: env.BERTH_CNI_UNLINKER === "1",
  });
  const { exitCode, stdout } = await plugin.run(env, readFileSync(0));
  await plugin.close();
  if (stdout.length > 0) writeSync(1, stdout);
  return exitCode;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exitCode = 1;
  },
);
