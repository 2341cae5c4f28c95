import { describe, expect, it } from "vitest";
import {
  addressBytes,
  addressOfBytes,
  contains,
  formatAddress,
  formatPrefix,
  lastOf,
  networkOf,
  parsePrefix,
  tryParseAddress,
} from "./address.ts";

function roundTrip(text: string): string | undefined {
  const address = tryParseAddress(text);
  return address === undefined ? undefined : formatAddress(address);
}

describe("addresses", () => {
  it.each([
    ["10.88.0.2", "10.88.0.2"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["fd00::5", "fd00::5"],
    ["FD00:0:0:0:0:0:0:5", "fd00::5"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ])("reads %s", (text, canonical) => {
    expect(roundTrip(text)).toBe(canonical);
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.0.0.1",
    "01.2.3.4",
    "1:2",
    ":::",
    "1::2::3",
    "g::",
    "1:2:3:4:5:6:7:8:9",
  ])("refuses %s", (text) => {
    expect(roundTrip(text)).toBeUndefined();
  });

  it("keeps bytes", () => {
    const address = tryParseAddress("fd00::a:b");
    expect(address && addressOfBytes(addressBytes(address))).toEqual(address);
  });
});

describe("networks", () => {
  it("know their ends", () => {
    const prefix = parsePrefix("10.88.3.4/16", "subnet");
    expect(formatAddress(networkOf(prefix))).toBe("10.88.0.0");
    expect(formatAddress(lastOf(prefix))).toBe("10.88.255.255");
    expect(formatPrefix(prefix)).toBe("10.88.3.4/16");
    const six = parsePrefix("fd00::/64", "subnet");
    expect(formatAddress(lastOf(six))).toBe("fd00::ffff:ffff:ffff:ffff");
  });

  it("know their members, and no other family's", () => {
    const prefix = parsePrefix("10.88.0.0/16", "subnet");
    const member = (text: string): boolean => {
      const address = tryParseAddress(text);
      return address !== undefined && contains(prefix, address);
    };
    expect(["10.88.255.255", "10.89.0.0", "::a58:1"].map(member)).toEqual([true, false, false]);
  });

  it.each(["10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "/8", "10.0.0.0/-1"])(
    "refuse %s",
    (text) => {
      expect(() => parsePrefix(text, "subnet")).toThrow(`subnet "${text}" is no network`);
    },
  );
});
