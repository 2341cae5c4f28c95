import { describe, expect, it } from "vitest";
import { ListContainersResponse, Container as Message } from "../../../../proto/gen/api.ts";
import { EncodedItems } from "./encoded-items.ts";

const make = (index: number, labels: Record<string, string> = {}): Message =>
  Message.fromPartial({ id: `c${index}`, labels });

describe("EncodedItems", () => {
  it("gives the bytes that the codec gives", () => {
    const rows = new EncodedItems<Message>((item) => Message.encode(item).finish());
    const containers = [make(1, { a: "b" }), make(2), make(3)];
    const whole = Buffer.from(ListContainersResponse.encode({ containers }).finish());
    expect(rows.concat(containers)).toEqual(whole);
    expect(rows.concat([])).toEqual(Buffer.alloc(0));
  });

  it("encodes an item once", () => {
    let count = 0;
    const rows = new EncodedItems<Message>((item) => {
      count += 1;
      return Message.encode(item).finish();
    });
    const containers = [make(1)];
    rows.concat(containers);
    rows.concat(containers);
    expect(count).toBe(1);
  });

  it("gives the same bytes for the same rows, and others when one was replaced, left out or moved", () => {
    const rows = new EncodedItems<Message>((item) => Message.encode(item).finish());
    const [one, two, other] = [make(1), make(2), make(3)];
    const first = rows.concat([one, two]);
    expect(rows.concat([one, two])).toBe(first);
    const ids = (items: readonly Message[]): string[] =>
      ListContainersResponse.decode(rows.concat(items)).containers.map(({ id }) => id);
    expect(ids([one, other])).toEqual(["c1", "c3"]);
    expect(ids([one])).toEqual(["c1"]);
    expect(ids([two, one])).toEqual(["c2", "c1"]);
    expect(ids([])).toEqual([]);
    expect(ids([one, two])).toEqual(["c1", "c2"]);
  });

  it("parts a long list into messages that are neither empty nor large", () => {
    const rows = new EncodedItems<Message>((item) => Message.encode(item).finish());
    const containers = Array.from({ length: 300 }, (_, index) => make(index, { large: "x".repeat(10_000) }));
    const batches = [...rows.batches(containers)];
    expect(batches.length).toBe(3);
    const seen = batches.flatMap((batch) => ListContainersResponse.decode(batch).containers);
    expect(seen.map(({ id }) => id)).toEqual(containers.map(({ id }) => id));
    expect([...rows.batches([])]).toEqual([]);
  });
});
