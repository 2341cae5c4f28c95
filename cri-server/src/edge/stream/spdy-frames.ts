/** SPDY/3.1 frames (draft-mbelshe-httpbis-spdy-00, 2.2 and 2.6), as far as Kubernetes uses them. */

export const frameType = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

export const flagFin = 1;

export const resetStatus = { protocolError: 1, invalidStream: 2, refusedStream: 3, cancel: 5 } as const;

/** Bytes of every frame's head. */
export const headLength = 8;

export type FrameHead =
  | { readonly kind: "data"; readonly streamId: number; readonly flags: number; readonly length: number }
  | {
      readonly kind: "control";
      readonly version: number;
      readonly type: number;
      readonly flags: number;
      readonly length: number;
    };

export function parseHead(bytes: Buffer): FrameHead {
  const first = bytes.readUInt32BE(0);
  const flags = bytes.readUInt8(4);
  const length = bytes.readUIntBE(5, 3);
  return first >>> 31 === 0
    ? { kind: "data", streamId: first, flags, length }
    : { kind: "control", version: (first >>> 16) & 0x7fff, type: first & 0xffff, flags, length };
}

/** The head of a data frame; its payload follows as it is. */
export function dataHead(streamId: number, flags: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(headLength);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt8(flags, 4);
  head.writeUIntBE(length, 5, 3);
  return head;
}

export function controlFrame(type: number, flags: number, payload: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(headLength + payload.length);
  frame.writeUInt16BE(0x8003, 0);
  frame.writeUInt16BE(type, 2);
  frame.writeUInt8(flags, 4);
  frame.writeUIntBE(payload.length, 5, 3);
  payload.copy(frame, headLength);
  return frame;
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(4 * values.length);
  for (const [index, value] of values.entries()) {
    bytes.writeUInt32BE(value, 4 * index);
  }
  return bytes;
}

export function resetFrame(streamId: number, status: number): Buffer {
  return controlFrame(frameType.rstStream, 0, words(streamId, status));
}

export function pingFrame(id: number): Buffer {
  return controlFrame(frameType.ping, 0, words(id));
}

export function goAwayFrame(lastStreamId: number): Buffer {
  return controlFrame(frameType.goAway, 0, words(lastStreamId, 0));
}

export function synReplyFrame(streamId: number, headerBlock: Buffer): Buffer {
  return controlFrame(frameType.synReply, 0, Buffer.concat([words(streamId), headerBlock]));
}
