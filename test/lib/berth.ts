import { join } from "node:path";
import type { Berthd } from "./berthd.ts";
import { type Outcome, outcomeOf } from "./command.ts";

const command = join(import.meta.dirname, "../../dist/berth");

/** Runs the operator's command against a server. */
export async function berth(server: Berthd, ...words: readonly string[]): Promise<Outcome> {
  return await outcomeOf(command, ["--socket", join(server.dir, "run/admin.sock"), ...words]);
}
