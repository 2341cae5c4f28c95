import { defineConfig } from "vitest/config";
import { patience } from "./test/lib/patience.ts";

// Unit tests sit beside their source and need neither root nor a kernel feature. Everything under test/ is real:
// it needs root and runs one file at a time, because the files share one kernel.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "cri-server/src/**/*.test.ts",
            "cni-plugin/src/**/*.test.ts",
            "hack/**/*.test.ts",
            "proto/**/*.test.ts",
          ],
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/**/*.test.ts"],
          globalSetup: ["test/lib/global.ts"],
          fileParallelism: false,
          testTimeout: 60_000 * patience,
          hookTimeout: 120_000 * patience,
        },
      },
    ],
  },
});
