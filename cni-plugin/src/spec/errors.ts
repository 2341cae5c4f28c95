/** Error codes of the CNI specification (below 100), of its Go library (8, 999), and of this plugin (100 and more). */
export const codes = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decode: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryLater: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  internal: 999,
  addressesExhausted: 100,
  addressTaken: 101,
  hostPortTaken: 102,
  kernelRefused: 103,
  checkFailed: 104,
} as const;

export type CniCode = (typeof codes)[keyof typeof codes];

/** The one error of the plugin; it becomes the JSON error that the runtime reads from standard output. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly code: CniCode;
  readonly details: string;
  constructor(code: CniCode, message: string, options?: { details?: string; cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.details = options?.details ?? "";
  }
}

/** Whatever was thrown, as a CniError. */
export function asCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof Error) {
    const code = "code" in error && typeof error.code === "string" ? codes.io : codes.internal;
    return new CniError(code, error.message, { cause: error });
  }
  return new CniError(codes.internal, String(error), { cause: error });
}

/** The error as the specification prints it. */
export function errorJson(error: CniError, cniVersion: string): string {
  return `${JSON.stringify({ cniVersion, code: error.code, msg: error.message, ...(error.details === "" ? {} : { details: error.details }) }, undefined, 4)}\n`;
}
