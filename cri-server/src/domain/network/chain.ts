import { BerthError } from "../../errors/berth-error.ts";
import type { PluginOutcome, PluginRunner } from "../../ports/cni.ts";
import type { Logger } from "../../ports/logger.ts";
import type { JsonObject, NetworkList, PluginConfig } from "./conflist.ts";
import { type Attachment, type Command, environmentOf, requestOf } from "./request.ts";
import { failureOf, parseResult } from "./result.ts";
import { atLeast } from "./versions.ts";

export interface ChainDeps {
  readonly runner: PluginRunner;
  readonly log: Logger;
  /** For each single call of a plugin. */
  readonly timeoutMs: number;
}

/** An attachment that belongs to the network, as GC is told of it. */
export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** The first version that has CHECK, and prevResult in DEL. */
const checkSince = "0.4.0";
/** The first version that has GC and STATUS. */
const gcSince = "1.1.0";

interface Call {
  readonly command: Command;
  readonly list: NetworkList;
  readonly plugin: PluginConfig;
  readonly attachment?: Attachment;
  readonly prevResult?: JsonObject | undefined;
  readonly extra?: JsonObject;
}

/** The field is absent, not null, without an earlier result. */
function previous(result: JsonObject | undefined): { prevResult?: JsonObject } {
  return result === undefined ? {} : { prevResult: result };
}

async function callPlugin(deps: ChainDeps, call: Call, signal?: AbortSignal): Promise<PluginOutcome> {
  const { command, list, plugin, attachment } = call;
  const stdin = requestOf(list, plugin, {
    ...(attachment === undefined ? {} : { capabilityArgs: attachment.capabilityArgs }),
    ...previous(call.prevResult),
    ...(call.extra === undefined ? {} : { extra: call.extra }),
  });
  const request = {
    type: plugin.type,
    env: environmentOf(command, attachment),
    stdin,
    timeoutMs: deps.timeoutMs,
  };
  const outcome = await deps.runner.run(request, signal);
  const fields = { plugin: plugin.type, command, network: list.name, container: attachment?.containerId };
  if (outcome.stderr.length > 0) {
    deps.log.info(
      { ...fields, stderr: outcome.stderr.toString("utf8").trimEnd() },
      "CNI plugin wrote to stderr",
    );
  }
  if (outcome.exitCode !== 0 || outcome.timedOut) {
    throw new BerthError(
      "network-failed",
      `CNI plugin ${plugin.type}, ${command} of network ${list.name}: ${failureOf(outcome, deps.timeoutMs)}`,
    );
  }
  return outcome;
}

/** ADD through the chain, each plugin with its predecessor's result. Stops at the first failure; undoing is the caller's. */
export async function addToChain(
  deps: ChainDeps,
  list: NetworkList,
  attachment: Attachment,
  signal?: AbortSignal,
): Promise<JsonObject> {
  let prevResult: JsonObject | undefined;
  for (const plugin of list.plugins) {
    signal?.throwIfAborted();
    const call = { command: "ADD", list, plugin, attachment, prevResult } as const;
    const outcome = await callPlugin(deps, call, signal);
    prevResult = parseResult(plugin.type, outcome.stdout, list.cniVersion);
  }
  return prevResult ?? {};
}

/** DEL in reverse order. Stops at the first failure, because a later plugin may need what an earlier one has not undone. */
export async function deleteFromChain(
  deps: ChainDeps,
  list: NetworkList,
  attachment: Attachment,
  result: JsonObject | undefined,
): Promise<void> {
  const prevResult = atLeast(list.cniVersion, checkSince) ? result : undefined;
  for (const plugin of list.plugins.toReversed()) {
    await callPlugin(deps, { command: "DEL", list, plugin, attachment, prevResult });
  }
}

/** CHECK in order, unless the list is too old for it or asks not to be checked. */
export async function checkChain(
  deps: ChainDeps,
  list: NetworkList,
  attachment: Attachment,
  result: JsonObject,
  signal?: AbortSignal,
): Promise<void> {
  if (list.disableCheck || !atLeast(list.cniVersion, checkSince)) {
    return;
  }
  for (const plugin of list.plugins) {
    await callPlugin(deps, { command: "CHECK", list, plugin, attachment, prevResult: result }, signal);
  }
}

/** Whether this network's plugins can be asked for GC and STATUS. */
export function hasStatus(list: NetworkList): boolean {
  return atLeast(list.cniVersion, gcSince);
}

/** Whether the list's plugins are to be told what is valid. */
export function hasGarbageCollection(list: NetworkList): boolean {
  return !list.disableGC && hasStatus(list);
}

/** GC of every plugin; one that fails keeps no other from running. Resolves with the failures. */
export async function collectChain(
  deps: ChainDeps,
  list: NetworkList,
  valid: readonly ValidAttachment[],
): Promise<readonly unknown[]> {
  if (!hasGarbageCollection(list)) {
    return [];
  }
  // The key was renamed while plugins had the old name already (containernetworking/cni#1101): both are sent.
  const extra = { "cni.dev/valid-attachments": valid, "cni.dev/attachments": valid };
  const failures: unknown[] = [];
  for (const plugin of list.plugins) {
    try {
      await callPlugin(deps, { command: "GC", list, plugin, extra });
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

/** STATUS of every plugin, in order; rejects with the first that is not ready. */
export async function statusOfChain(deps: ChainDeps, list: NetworkList): Promise<void> {
  if (!hasStatus(list)) {
    return;
  }
  for (const plugin of list.plugins) {
    await callPlugin(deps, { command: "STATUS", list, plugin });
  }
}
