import { expect, it } from "vitest";
import { failureError } from "./connection.ts";

const [enoent, ebadmsg, enospc] = [2, 74, 28];

it.each([
  [
    "a plan of another form",
    ebadmsg,
    "request",
    "malformed plan",
    "wrong-state",
    /another build.*make it again/,
  ],
  [
    "a request that nobody knows",
    ebadmsg,
    "request",
    "malformed",
    "internal",
    /exec: request: malformed: EBADMSG/,
  ],
  [
    "a sysctl that there is not",
    enoent,
    "sysctl",
    "a.b = 1",
    "invalid-argument",
    /^linux\.sysctls a\.b = 1: the kernel has none/,
  ],
  [
    "a sysctl that was in the way",
    enospc,
    "sysctl",
    "a.b = 1",
    "launch-failed",
    /exec: sysctl: a\.b = 1: ENOSPC/,
  ],
  ["no room", enospc, "mount", "/x", "resource-exhausted", /exec: mount: \/x: ENOSPC/],
  ["a kernel that refuses", enoent, "mount", "/x", "launch-failed", /exec: mount: \/x: ENOENT/],
])("names %s", (_, errno, stage, text, code, message) => {
  const error = failureError({ errno, stage, text }, "exec", "launch-failed");
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
});
