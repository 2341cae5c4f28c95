import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { catalogue } from "./catalogue.ts";

const statusNames: Readonly<Record<number, string>> = {
  1: "Cancelled",
  2: "Unknown",
  3: "InvalidArgument",
  4: "DeadlineExceeded",
  5: "NotFound",
  6: "AlreadyExists",
  8: "ResourceExhausted",
  9: "FailedPrecondition",
  12: "Unimplemented",
  13: "Internal",
  14: "Unavailable",
};

it("ERRORS.md lists every error of the catalogue, and no other", () => {
  const document = readFileSync(join(import.meta.dirname, "../../../ERRORS.md"), "utf8");
  const rows = document.split("\n").filter((line) => line.startsWith("| `"));
  const expected = Object.entries(catalogue).map(
    ([code, { grpc, meaning }]) => `| \`${code}\` | ${statusNames[grpc]} (${grpc}) | ${meaning} |`,
  );
  expect(rows).toEqual(expected);
});
