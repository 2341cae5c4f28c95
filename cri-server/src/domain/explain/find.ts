import { BerthError } from "../../errors/berth-error.ts";
import type { ContainerEntry, Objects, PodEntry } from "../objects.ts";

/** What a name or the start of an id led to. */
export type Subject =
  | { readonly kind: "pod"; readonly pod: PodEntry }
  | { readonly kind: "container"; readonly container: ContainerEntry };

/** As short as crictl lets them be, and more than a word's beginning by chance. */
const shortestPrefix = 4;

/**
 * Finds what a person means: an id or the start of one, `NAMESPACE/POD`, `POD`, `POD/CONTAINER`, `NAMESPACE/POD/CONTAINER` or
 * `CONTAINER`. Of several attempts under one name it is the newest. Also what clients don't see: explaining that is the point.
 */
export function findSubject(objects: Objects, word: string): Subject {
  const byId = startingWith(objects, word);
  const found = byId.length > 0 ? byId : newest(named(objects, word.split("/")));
  const [first, ...others] = found;
  if (first === undefined) {
    throw new BerthError(
      "sandbox-not-found",
      `${JSON.stringify(word)}: no pod or container has this name, or an id that starts so`,
    );
  }
  if (others.length > 0) {
    const list = found.map((one) => `${labelOf(one)} (${idOf(one).slice(0, 13)})`).join(", ");
    throw new BerthError("invalid-argument", `${JSON.stringify(word)} is more than one: ${list}`);
  }
  return first;
}

function startingWith(objects: Objects, prefix: string): readonly Subject[] {
  if (prefix.length < shortestPrefix || !/^[0-9a-f]+$/.test(prefix)) {
    return [];
  }
  return everything(objects).filter((one) => idOf(one).startsWith(prefix));
}

function everything(objects: Objects): readonly Subject[] {
  return [
    ...[...objects.pods()].map((pod) => ({ kind: "pod", pod }) as const),
    ...[...objects.containers()].map((container) => ({ kind: "container", container }) as const),
  ];
}

function named(objects: Objects, parts: readonly string[]): readonly Subject[] {
  return everything(objects).filter((one) => {
    const { namespace, pod, container } = namesOf(one);
    const names = container === undefined ? [namespace, pod] : [namespace, pod, container];
    // The whole name, or an end of it.
    return parts.every((part, index) => part === names[names.length - parts.length + index]);
  });
}

function namesOf(one: Subject): {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string | undefined;
} {
  const entry = one.kind === "pod" ? one.pod : one.container.pod;
  const { namespace, name } = entry.sandbox.config.metadata;
  const container = one.kind === "pod" ? undefined : one.container.container.config.metadata.name;
  return { namespace, pod: name, container };
}

/** Of subjects that share a whole name, the one made last. */
function newest(found: readonly Subject[]): readonly Subject[] {
  const latest = new Map<string, Subject>();
  for (const one of found) {
    const label = `${one.kind} ${labelOf(one)}`;
    const known = latest.get(label);
    if (known === undefined || createdAt(known) < createdAt(one)) {
      latest.set(label, one);
    }
  }
  return [...latest.values()];
}

function createdAt(one: Subject): bigint {
  return one.kind === "pod" ? one.pod.sandbox.createdAt : one.container.container.createdAt;
}

function idOf(one: Subject): string {
  return one.kind === "pod" ? one.pod.sandbox.id : one.container.container.id;
}

function labelOf(one: Subject): string {
  const { namespace, pod, container } = namesOf(one);
  return container === undefined ? `${namespace}/${pod}` : `${namespace}/${pod}/${container}`;
}
