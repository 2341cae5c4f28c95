import { BlockList, isIP } from "node:net";
import { BerthError } from "../../errors/berth-error.ts";
import type { PluginOutcome } from "../../ports/cni.ts";
import { isObject, type JsonObject } from "./conflist.ts";

const nobody = new BlockList();
for (const address of ["0.0.0.0", "::"]) nobody.addAddress(address, isIP(address) === 4 ? "ipv4" : "ipv6");

/** How much of a plugin's own words goes into an error message. */
const quoted = 1024;

function excerpt(words: unknown): string {
  const text = Buffer.isBuffer(words) ? words.toString("utf8", 0, quoted) : String(words).slice(0, quoted);
  return text.trim();
}

/** A plugin's failure as text: its own error object if it printed one (on stdout), else whatever it said. */
export function failureOf(outcome: PluginOutcome, timeoutMs: number): string {
  if (outcome.timedOut) {
    return `no answer within ${timeoutMs / 1000} s`;
  }
  try {
    const error: unknown = JSON.parse(outcome.stdout.toString("utf8"));
    if (isObject(error) && (error.msg !== undefined || error.code !== undefined)) {
      const details =
        error.details === undefined || error.details === "" ? "" : `: ${excerpt(error.details)}`;
      return `${excerpt(error.msg ?? "")}${details} (code ${excerpt(error.code)})`;
    }
  } catch (error) {
    // Not an error object. What it printed is shown as it stands, so nothing of the parse error is lost.
    if (!(error instanceof SyntaxError)) {
      throw error;
    }
  }
  const said = excerpt(outcome.stderr) || excerpt(outcome.stdout);
  return `exit code ${outcome.exitCode}${said === "" ? " without a word" : `: ${said}`}`;
}

/**
 * The result on a plugin's stdout. Two things that real plugins do are put right, as libcni does: a result without
 * cniVersion has the configuration's, and a literal `null` is an empty result.
 */
export function parseResult(type: string, stdout: Buffer, cniVersion: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(stdout.toString("utf8"));
  } catch (error) {
    throw new BerthError(
      "network-failed",
      `CNI plugin ${type}: its result is not JSON: ${JSON.stringify(excerpt(stdout))}`,
      { cause: error },
    );
  }
  if (value !== null && !isObject(value)) {
    throw new BerthError("network-failed", `CNI plugin ${type}: its result is not a JSON object`);
  }
  return { cniVersion, ...value };
}

/** The address without its prefix length. One that names an interface (fe80::1%eth0) or nobody (::) is no pod's. */
function bare(type: string, value: unknown): string {
  const text = typeof value === "string" ? (value.split("/")[0] ?? "") : "";
  if (isIP(text) === 0 || text.includes("%") || nobody.check(text, isIP(text) === 4 ? "ipv4" : "ipv6")) {
    const shown = excerpt(JSON.stringify(value));
    throw new BerthError("network-failed", `CNI network ${type}: the result has the address ${shown}`);
  }
  return text;
}

/** 0.2.0 and older had one address per family, and no interfaces. */
function oldAddresses(network: string, result: JsonObject): string[] {
  return ["ip4", "ip6"].flatMap((family) => {
    const entry = result[family];
    return isObject(entry) ? [bare(network, entry.ip)] : [];
  });
}

/**
 * The pod's addresses in a final ADD result, first IPv4 first. Those of the pod's interface count, and those that name
 * no interface. Rejects `network-failed` when none is left, as a pod without an address would be recreated for ever.
 */
export function addressesOf(network: string, result: JsonObject, ifName: string): readonly string[] {
  const interfaces = Array.isArray(result.interfaces) ? result.interfaces : [];
  const inPod = (index: unknown): boolean => {
    const link: unknown = typeof index === "number" ? interfaces[index] : undefined;
    return isObject(link) && link.name === ifName && typeof link.sandbox === "string" && link.sandbox !== "";
  };
  if (interfaces.length > 0 && !interfaces.some((_, index) => inPod(index))) {
    throw new BerthError(
      "network-failed",
      `CNI network ${network}: the result has no interface ${ifName} in the pod`,
    );
  }
  const entries: unknown[] = Array.isArray(result.ips) ? result.ips : [];
  const modern = entries.flatMap((entry) =>
    isObject(entry) && (entry.interface === undefined || entry.interface === null || inPod(entry.interface))
      ? [bare(network, entry.address)]
      : [],
  );
  const all = [...new Set(modern.length > 0 ? modern : oldAddresses(network, result))];
  if (all.length === 0) {
    throw new BerthError("network-failed", `CNI network ${network}: the result has no address for ${ifName}`);
  }
  const primary = all.findIndex((address) => isIP(address) === 4);
  return primary <= 0 ? all : [...all.splice(primary, 1), ...all];
}
