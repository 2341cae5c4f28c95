const suffixes: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** A Kubernetes quantity of whole things ("10M", "1.5Gi", "1e6"), rounded up; NaN when it is none. */
export function parseQuantity(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(?:[eE]([0-9]{1,2})|(|k|[KMGTP]i|[MGTP]))$/.exec(text);
  const factor = match?.[2] === undefined ? suffixes[match?.[3] ?? ""] : 10 ** Number(match[2]);
  return Math.ceil(Number(match?.[1]) * (factor ?? Number.NaN));
}
