import type { ErrorCode } from "./catalogue.ts";

/** Errors of the system that say something other than "internal" to a client. The only place that maps them. */
const codes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "resource-exhausted",
  EDQUOT: "resource-exhausted",
  ENOMEM: "resource-exhausted",
  EMFILE: "resource-exhausted",
  ENFILE: "resource-exhausted",
};

/** The catalogue's code for an error of Node or the kernel. */
export function codeOfErrno(error: unknown): ErrorCode {
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return codes[error.code] ?? "internal";
  }
  return "internal";
}
