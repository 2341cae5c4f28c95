import { expect, it } from "vitest";
import { makeSizeReader } from "./resize.ts";

it("reads sizes however they are cut, and passes over what is none", () => {
  const sizes: number[][] = [];
  const read = makeSizeReader((...size) => sizes.push(size));
  const text = '{"Width":80,"Height":24}\n{"height":5,"width":7}{"Width":"x"}{}{"Width":99999,"Height":1}';
  for (const char of text) {
    read(Buffer.from(char));
  }
  read(Buffer.from("x".repeat(10_000)));
  read(Buffer.from('{"Width":1,"Height":2}'));
  expect(sizes).toEqual([
    [80, 24],
    [7, 5],
    [65_535, 1],
    [1, 2],
  ]);
});
