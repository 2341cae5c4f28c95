import { expect, it } from "vitest";
import { parsePrefix } from "../spec/address.ts";
import { hashBytes } from "../spec/hash.ts";
import { isolationChain, masqueradeChain, rulesVersion, sharedChains } from "./ruleset.ts";

const key = { name: "net", bridge: "br0" };
const subnets = [parsePrefix("10.1.0.0/16", "subnet"), parsePrefix("fd00::/64", "subnet")];

it("rules do not change without a new version: hosts that have them would keep the old ones", () => {
  const chains = [
    ...sharedChains,
    masqueradeChain(key, subnets),
    isolationChain(key, "br0", "isolated"),
    isolationChain(key, "br0", "same-namespace"),
  ];
  const content = chains.map(
    ({ type, hook, priority, rules }) =>
      `${type} ${hook} ${priority} ${Buffer.concat(rules().flat()).toString("hex")}`,
  );
  expect([rulesVersion, hashBytes(Buffer.from(content.join("\n")))]).toEqual([1, "1f0f73ef56b7cc92"]);
});

it("a network's comment tells its subnets apart, however many they are", () => {
  const many = Array.from({ length: 40 }, (_, index) => parsePrefix(`10.${index}.0.0/16`, "subnet"));
  const other = [...many.slice(0, -1), parsePrefix("10.99.0.0/16", "subnet")];
  expect(masqueradeChain(key, many).comment).not.toBe(masqueradeChain(key, other).comment);
  expect(masqueradeChain(key, many).comment.length).toBeLessThan(250);
});
