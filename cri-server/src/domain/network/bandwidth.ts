import { BerthError } from "../../errors/berth-error.ts";
import { parseQuantity } from "../../lib/quantity.ts";

/** The range that Kubernetes accepts (pkg/util/bandwidth): 1k to 1P bits a second. */
const lowest = 1e3;
const highest = 1e15;

function parseRate(annotation: string, value: string): number {
  const rate = parseQuantity(value);
  if (!(rate >= lowest && rate <= highest)) {
    throw new BerthError(
      "invalid-argument",
      `annotation ${annotation} is ${JSON.stringify(value)}, not a quantity of bits per second between 1k and 1P`,
    );
  }
  return rate;
}

/**
 * Bits that may pass at line rate before the limit bites. A token bucket has to hold what arrives between two timer
 * ticks, or it never reaches its rate (tc-tbf(8)); anything much larger lets seconds of traffic pass unlimited
 * (kubernetes/kubernetes#90838).
 */
function burstOf(rate: number): number {
  return Math.max(Math.ceil(rate / 250), 64 * 1024 * 8);
}

/** The `bandwidth` capability from the pod's annotations; undefined without any. Directions are the pod's, as the plugin has them. */
export function bandwidthOf(
  annotations: Readonly<Record<string, string>>,
): Readonly<Record<string, number>> | undefined {
  const limits: Record<string, number> = {};
  for (const direction of ["ingress", "egress"] as const) {
    const annotation = `kubernetes.io/${direction}-bandwidth`;
    const value = annotations[annotation];
    if (value !== undefined) {
      const rate = parseRate(annotation, value);
      limits[`${direction}Rate`] = rate;
      limits[`${direction}Burst`] = burstOf(rate);
    }
  }
  return Object.keys(limits).length === 0 ? undefined : limits;
}
