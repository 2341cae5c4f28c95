import type { NamespaceOptions } from "../model/namespaces.ts";
import { complain, hasControl } from "./check.ts";

interface Rule {
  readonly names: RegExp;
  /** Why this pod can't have it; undefined: it can. */
  readonly refusal: (namespaces: NamespaceOptions) => string | undefined;
}

/** What is namespaced, and by which namespace. Anything else would change the node. */
const rules: readonly Rule[] = [
  {
    names: /^net\./,
    refusal: ({ network }) =>
      network === "NODE" ? "not possible in the host's network namespace" : undefined,
  },
  {
    names: /^(kernel\.(shm|msg)[a-z_]*|kernel\.sem|fs\.mqueue\..+)$/,
    refusal: ({ ipc }) => (ipc === "NODE" ? "not possible in the host's IPC namespace" : undefined),
  },
  {
    // The pod's own UTS namespace goes with its network namespace, as kubelet and peers have it.
    names: /^kernel\.(hostname|domainname)$/,
    refusal: ({ network }) => (network === "NODE" ? "not possible in the host's UTS namespace" : undefined),
  },
  {
    names: /^user\./,
    refusal: ({ userns }) =>
      userns === undefined ? "only possible in a user namespace of the pod's own" : undefined,
  },
];

/** The first complaint about a pod's sysctls. */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  namespaces: NamespaceOptions,
): string | undefined {
  for (const [key, value] of Object.entries(sysctls)) {
    const field = `linux.sysctls ${JSON.stringify(key)}`;
    if (!/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_@:-]+)+$/.test(key)) {
      return `${field}: not the dotted name of a sysctl`;
    }
    if (hasControl(value) || value.length > 4096) {
      return complain(field, value, "has a NUL or line break in it or is longer than 4096");
    }
    const rule = rules.find(({ names }) => names.test(key));
    if (rule === undefined) {
      return `${field}: not namespaced, so a pod can't have its own`;
    }
    const refusal = rule.refusal(namespaces);
    if (refusal !== undefined) {
      return `${field}: ${refusal}`;
    }
  }
  return undefined;
}
