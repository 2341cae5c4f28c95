/** Field names whose values are secrets wherever they occur in a request (AuthConfig, KeyValue of an environment). */
const secretFields: ReadonlySet<string> = new Set([
  "auth",
  "password",
  "identityToken",
  "registryToken",
  "username",
  "credentialSpec",
]);

/** A copy of a request for the log: secrets and environment values are replaced, bytes become their length. */
export function redact(value: unknown): unknown {
  if (typeof value === "bigint") {
    return value.toString();
  }
  if (value instanceof Uint8Array) {
    return `[${value.length} bytes]`;
  }
  if (Array.isArray(value)) {
    return value.map(redact);
  }
  if (typeof value !== "object" || value === null) {
    return value;
  }
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => !isEmpty(inner))
      .map(([key, inner]) => [
        key,
        secretFields.has(key) && inner !== undefined ? "[secret]" : redact(inner),
      ]),
  );
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) {
    return value.length === 0;
  }
  return value === undefined || value === "" || value === 0 || value === 0n || value === false;
}
