import { expect, it } from "vitest";
import { capabilities, kernelVersion, openFilesLimit } from "./host.ts";
import { splitDeviceNumber } from "./host-files.ts";
import { hugePageName } from "./huge-pages.ts";

it.each([
  ["6.18.44-fc-v657", { major: 6, minor: 18 }],
  ["5.4.0", { major: 5, minor: 4 }],
])("kernel %s", (text, expected) => {
  expect(kernelVersion(text)).toEqual(expected);
});

it.each([
  ["hugepages-2048kB", "2MB"],
  ["hugepages-1048576kB", "1GB"],
  ["hugepages-64kB", "64KB"],
  ["other", undefined],
])("%s is %s", (directory, name) => {
  expect(hugePageName(directory)).toBe(name);
});

it("reads the server's own limits", () => {
  const status = "Name:\tnode\nCapEff:\t0000000000000003\nCapBnd:\t000001fffeffffff\n";
  expect(capabilities(status)).toEqual({ bounding: 0x1fffeffffffn, effective: 3n });
  const limits =
    "Limit Soft Hard Units\nMax open files            1024                 524288               files\n";
  expect(openFilesLimit(limits)).toBe(524_288n);
  expect(openFilesLimit("Max open files            1024                 unlimited            files\n")).toBe(
    1_048_576n,
  );
});

it.each([
  [0x103n, 1, 3],
  [0x8800n | (5n << 0n), 0x88, 5],
  [(0x12345n & 0xffn) | ((0x12345n & ~0xffn) << 12n) | (0xfffn << 8n), 0xfff, 0x12345],
])("device number %d", (rdev, major, minor) => {
  expect(splitDeviceNumber(rdev)).toEqual({ major, minor });
});
