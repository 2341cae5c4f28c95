import { CniError, codes } from "./errors.ts";

/** The environment of one call; only CNI_* and PATH are looked at. */
export type PluginEnv = Readonly<Record<string, string>>;

export const commands = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;
export type Command = (typeof commands)[number];

/** A call's environment, checked. What a command does not have is "". */
export interface Call {
  readonly command: Command;
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
  readonly args: ReadonlyMap<string, string>;
  readonly path: readonly string[];
  readonly netnsOverride: boolean;
}

type Need = "required" | "optional";

/** The specification's table of variables, by command. DEL must work when the namespace is gone. */
const needs: Readonly<Record<Command, Readonly<Record<string, Need>>>> = {
  ADD: { CNI_CONTAINERID: "required", CNI_NETNS: "required", CNI_IFNAME: "required", CNI_PATH: "required" },
  CHECK: { CNI_CONTAINERID: "required", CNI_NETNS: "required", CNI_IFNAME: "required", CNI_PATH: "required" },
  DEL: { CNI_CONTAINERID: "required", CNI_NETNS: "optional", CNI_IFNAME: "required", CNI_PATH: "required" },
  GC: { CNI_PATH: "required" },
  STATUS: { CNI_PATH: "required" },
  VERSION: {},
};

function invalid(message: string): CniError {
  return new CniError(codes.invalidEnvironment, message);
}

function parseCommand(env: PluginEnv): Command {
  const text = env.CNI_COMMAND ?? "";
  const command = commands.find((known) => known === text);
  if (command === undefined) throw invalid(`CNI_COMMAND "${text}" is none of ${commands.join(", ")}`);
  return command;
}

export function isContainerId(id: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(id);
}

function checkContainerId(id: string): void {
  if (!isContainerId(id)) {
    throw invalid(
      `CNI_CONTAINERID "${id}" must begin with a letter or digit and have only these, "_", "." and "-"`,
    );
  }
}

/** The kernel's own rules for a device name (dev_valid_name), with the specification's ban of ":". */
export function checkIfName(name: string): void {
  if (Buffer.byteLength(name) > 15) throw invalid(`CNI_IFNAME "${name}" is longer than 15 bytes`);
  if (name === "." || name === ".." || /[/:\s]/.test(name) || name === "") {
    throw invalid(`CNI_IFNAME "${name}" is no name for a network interface`);
  }
}

/** CNI_ARGS: `K=V;K=V`. Unknown keys are for others to judge. */
function parseArgs(text: string): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const pair of text.split(";")) {
    const equals = pair.indexOf("=");
    if (equals > 0) args.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  return args;
}

/** For the parts of the plugin that read arguments: one without a value is a mistake of whoever wrote it. */
export function requireArgs(text: string): void {
  const wrong = text.split(";").find((pair) => pair !== "" && pair.indexOf("=") <= 0);
  if (wrong !== undefined) throw invalid(`CNI_ARGS has "${wrong}", which is no KEY=VALUE`);
}

/** Checks the environment against the table; all that is missing is named at once. */
export function parseEnv(env: PluginEnv): Call {
  const command = parseCommand(env);
  const missing = Object.entries(needs[command]).flatMap(([name, need]) =>
    need === "required" && (env[name] ?? "") === "" ? [name] : [],
  );
  if (missing.length > 0) throw invalid(`${command} needs ${missing.join(", ")}`);
  const containerId = env.CNI_CONTAINERID ?? "";
  const ifName = env.CNI_IFNAME ?? "";
  if ("CNI_CONTAINERID" in needs[command]) {
    checkContainerId(containerId);
    checkIfName(ifName);
  }
  const override = (env.CNI_NETNS_OVERRIDE ?? "").toLowerCase();
  return {
    command,
    containerId,
    netns: env.CNI_NETNS ?? "",
    ifName,
    args: parseArgs(env.CNI_ARGS ?? ""),
    path: (env.CNI_PATH ?? "").split(":").filter((directory) => directory !== ""),
    netnsOverride: override === "1" || override === "true",
  };
}
