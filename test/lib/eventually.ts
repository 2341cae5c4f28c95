import { setTimeout as sleep } from "node:timers/promises";

/** Tries until it stops throwing; throws what it threw last when the time is up. Default: five seconds. */
export async function eventually<T>(attempt: () => T | Promise<T>, milliseconds = 5000): Promise<T> {
  const end = performance.now() + milliseconds;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > end) throw error;
    }
    await sleep(20);
  }
}
