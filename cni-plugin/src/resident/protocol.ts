import type { PluginOutcome } from "./handle.ts";

// Between launcher and server, in this order (all numbers 32-bit little-endian):
//   launcher: "BCNI", version, fd of its network namespace, fd of CNI_NETNS or -1, size of environment, size of
//             standard input; then both, the environment as NAME=VALUE with a zero behind each
//   server:   'A' (accepted: from here on only the server acts) or 'R' (refused: the launcher does it by itself)
//   server:   exit code, size of standard output; then that
// A launcher that loses patience before the first byte sends 'C', and then waits a little for an 'A' or 'R' on its way.
export const protocolVersion = 1;
export const accepted = Buffer.from("A");
export const refused = Buffer.from("R");

const magic = 0x494e4342;
const headerSize = 24;
const mostBytes = 16 << 20;

export interface LauncherRequest {
  readonly ownNetnsFd: number;
  readonly netnsFd: number;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Buffer;
}

function parseEnvironment(bytes: Buffer): Readonly<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const entry of bytes.toString("utf8").split("\0")) {
    const equals = entry.indexOf("=");
    if (equals > 0) env[entry.slice(0, equals)] = entry.slice(equals + 1);
  }
  return env;
}

/** The whole request; undefined while some of it is missing; "refuse" when it is not to be served. */
export function decodeRequest(bytes: Buffer): LauncherRequest | "refuse" | undefined {
  if (bytes.length < headerSize) return undefined;
  const envSize = bytes.readUInt32LE(16);
  const stdinSize = bytes.readUInt32LE(20);
  if (bytes.readUInt32LE(0) !== magic || bytes.readUInt32LE(4) !== protocolVersion) return "refuse";
  if (envSize > mostBytes || stdinSize > mostBytes) return "refuse";
  const end = headerSize + envSize + stdinSize;
  if (bytes.length < end) return undefined;
  // Anything behind the request can only be the launcher's change of mind.
  if (bytes.length > end) return "refuse";
  return {
    ownNetnsFd: bytes.readInt32LE(8),
    netnsFd: bytes.readInt32LE(12),
    env: parseEnvironment(bytes.subarray(headerSize, headerSize + envSize)),
    stdin: Buffer.from(bytes.subarray(headerSize + envSize, end)),
  };
}

export function encodeAnswer(outcome: PluginOutcome): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(outcome.exitCode, 0);
  header.writeUInt32LE(outcome.stdout.length, 4);
  return Buffer.concat([header, outcome.stdout]);
}
