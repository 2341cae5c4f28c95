/** One way to authenticate that a WWW-Authenticate header offers (RFC 9110, 11.6.1). */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Reads a WWW-Authenticate header; what is not understood is left out. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const parameter = /([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*/y;
  const scheme = /([A-Za-z][A-Za-z0-9_-]*)(?:\s+|$|(?=,))/y;
  let at = 0;
  while (at < header.length) {
    if (header[at] === "," || header[at] === " ") {
      at += 1;
      continue;
    }
    parameter.lastIndex = at;
    const pair = parameter.exec(header);
    const current = challenges.at(-1);
    if (pair !== null && current !== undefined) {
      const value = pair[2] === undefined ? (pair[3] ?? "") : pair[2].replace(/\\(.)/g, "$1");
      current.parameters[(pair[1] ?? "").toLowerCase()] = value;
      at = parameter.lastIndex;
      continue;
    }
    scheme.lastIndex = at;
    const word = scheme.exec(header);
    if (word === null) {
      return challenges;
    }
    challenges.push({ scheme: (word[1] ?? "").toLowerCase(), parameters: {} });
    at = scheme.lastIndex;
  }
  return challenges;
}
