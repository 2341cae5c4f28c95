import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { ContainerStats } from "../../../../proto/gen/api.ts";
import type { Container } from "../../model/container.ts";
import type { ContainerUsage } from "../../ports/usage.ts";
import { presentAttributes, presentFigures } from "../../present/stats.ts";
import { EncodedAnswer } from "./encoded-answer.ts";
import { rowTag } from "./encoded-items.ts";

/** Labels and annotations are most of a row, and the same in each. A message in two parts is the message of both (protobuf). */
const attributes = new EncodedAnswer<Container>((container) =>
  ContainerStats.encode(ContainerStats.fromPartial({ attributes: presentAttributes(container) })).finish(),
);

/** A whole ListContainerStatsResponse, or StreamContainerStatsResponse. */
export function encodeStats(usages: readonly ContainerUsage[]): Buffer {
  const writer = new BinaryWriter();
  for (const usage of usages) {
    const known = attributes.of(usage.container);
    const figures = ContainerStats.encode(presentFigures(usage)).finish();
    writer
      .uint32(rowTag)
      .uint32(known.length + figures.length)
      .raw(known)
      .raw(figures);
  }
  return Buffer.from(writer.finish());
}
