import { complain, invalid } from "./check.ts";

/** A user or group id of CRI (int64) that the kernel can have: 2^32-1 means "none" to it. */
export function checkUnixId(field: string, value: bigint): string | undefined {
  return value < 0n || value >= 4_294_967_295n
    ? complain(field, value, "not within 0..4294967294")
    : undefined;
}

/** An object's id in a request: given, and of a shape that an id or the start of one can have. */
export function toId(field: string, value: string): string {
  if (value === "") {
    throw invalid(field, value, "is empty");
  }
  return value;
}
