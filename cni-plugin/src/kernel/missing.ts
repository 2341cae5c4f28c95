/** Whether a file call failed because there is nothing of that name (ENOENT). */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
