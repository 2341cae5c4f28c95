/**
 * Like Promise.all, but waits for every promise before it rejects with the first failure: what is rolled back afterwards
 * is then not still being made.
 */
export async function settleAll<T extends readonly Promise<unknown>[]>(
  promises: readonly [...T],
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}
