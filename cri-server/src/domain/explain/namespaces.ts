import type { NamespaceExplanation } from "../../model/explanation.ts";
import type { NamespaceInodes } from "../../ports/inspection.ts";
import { namespaceKinds } from "../../ports/inspection.ts";

/** A process of the pod, by the name of its container. */
export interface NamedProcess {
  readonly name: string;
  readonly namespaces: NamespaceInodes;
}

/** What can own a namespace, besides a container itself. */
export interface Owners {
  readonly host: NamespaceInodes;
  readonly pod: NamespaceInodes;
}

/** Each namespace of `inodes` with its owner, and which of the others are in it too. */
export function explainNamespaces(
  inodes: NamespaceInodes,
  owners: Owners,
  others: readonly NamedProcess[],
): readonly NamespaceExplanation[] {
  return namespaceKinds.flatMap((kind) => {
    const inode = inodes[kind];
    if (inode === undefined) {
      return [];
    }
    const sharedBy = others.filter(({ namespaces }) => namespaces[kind] === inode).map(({ name }) => name);
    return [{ kind, inode, whose: ownerOf(kind, inode, owners, sharedBy), sharedBy }];
  });
}

function ownerOf(
  kind: keyof NamespaceInodes,
  inode: string,
  { host, pod }: Owners,
  sharedBy: readonly string[],
): string {
  if (host[kind] === inode) {
    return "the host's";
  }
  if (pod[kind] === inode) {
    return "the pod's";
  }
  // With PID mode TARGET a container is in another's.
  return sharedBy[0] === undefined ? "its own" : `shared with ${sharedBy[0]}`;
}
