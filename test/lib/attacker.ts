import { chmodSync } from "node:fs";
import { join } from "node:path";
import type { Berthd } from "./berthd.ts";
import { run } from "./command.ts";

const source = join(import.meta.dirname, "../security/attacker.c");

/** Builds what an attacker brings along, and gives it as a mount at /attacker. */
export async function attacker(server: Berthd) {
  const program = join(server.dir, "attacker");
  await run("gcc", ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o", program, source]);
  chmodSync(program, 0o755);
  return { hostPath: program, containerPath: "/attacker", readonly: true };
}
