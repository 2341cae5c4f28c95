import { BerthError } from "../../errors/berth-error.ts";
import { parseQuantity } from "../../lib/quantity.ts";
import type { ContainerConfig } from "../../model/container.ts";

/** Of a container, or of a pod for all of its containers; with `.<name>` behind it for the one of that name. */
const annotation = "storage.berth.dev/writable-layer";
/** Less has no room for the directories that overlayfs makes for itself. */
const least = 64 * 1024;

/**
 * How many bytes a container may write to its root file system; 0n is any number. What annotations ask for holds where the
 * node's own limit is not lower: whoever may make pods must not be able to lift it.
 */
export function writableLimit(
  config: Pick<ContainerConfig, "annotations" | "metadata">,
  podAnnotations: Readonly<Record<string, string>>,
  nodeLimit: bigint,
): bigint {
  const asked = [
    [config.annotations, annotation],
    [podAnnotations, `${annotation}.${config.metadata.name}`],
    [podAnnotations, annotation],
  ] as const;
  for (const [annotations, key] of asked) {
    const text = Object.hasOwn(annotations, key) ? annotations[key] : undefined;
    if (text !== undefined) {
      const bytes = parse(key, text);
      return nodeLimit > 0n && nodeLimit < bytes ? nodeLimit : bytes;
    }
  }
  return nodeLimit;
}

function parse(key: string, text: string): bigint {
  const bytes = parseQuantity(text);
  if (!(bytes >= least && bytes <= 2 ** 50)) {
    throw new BerthError(
      "invalid-argument",
      `annotation ${key} is ${JSON.stringify(text)}, not a quantity of bytes between 64Ki and 1Pi`,
    );
  }
  return BigInt(bytes);
}
