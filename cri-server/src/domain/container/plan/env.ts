import { BerthError } from "../../../errors/berth-error.ts";
import type { ContainerConfig } from "../../../model/container.ts";
import type { ImageConfig } from "../../../model/image.ts";

/** What every other runtime gives to an image without a PATH. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface EnvInput {
  readonly image: Pick<ImageConfig, "env">;
  readonly config: Pick<ContainerConfig, "envs" | "tty">;
  readonly hostname: string;
  readonly home: string;
  /** KEY=value of CDI devices. */
  readonly injected: readonly string[];
}

/**
 * The environment, as latin1 strings so that every byte survives: PATH and HOSTNAME first, then the image's, then the
 * container's, then its CDI devices' (later wins, at the place of the first), HOME last where nobody set it.
 */
export function resolveEnv(input: EnvInput): readonly string[] {
  const env = new Map<string, string>([["PATH", defaultPath]]);
  if (input.hostname !== "") env.set("HOSTNAME", input.hostname);
  if (input.config.tty) env.set("TERM", "xterm");
  for (const entry of input.image.env) {
    const at = entry.indexOf("=");
    if (at <= 0)
      throw new BerthError("invalid-argument", `image config.Env: ${quote(entry)} is not KEY=value`);
    set(env, "image config.Env", latin1(entry.slice(0, at)), latin1(entry.slice(at + 1)));
  }
  for (const { key, value } of input.config.envs) {
    if (key === "" || key.includes("=")) {
      throw new BerthError("invalid-argument", `config.envs: ${quote(key)} is not a variable name`);
    }
    set(env, "config.envs", latin1(key), value);
  }
  for (const entry of input.injected) {
    const at = entry.indexOf("=");
    set(env, "CDI env", latin1(entry.slice(0, at)), latin1(entry.slice(at + 1)));
  }
  if (!env.has("HOME")) env.set("HOME", latin1(input.home));
  const home = env.get("HOME") ?? "";
  // A line break in HOME was a way to inject lines into files made from it (CVE-2022-4318).
  if (hasControlByte(home)) {
    throw new BerthError("invalid-argument", `HOME: ${quote(home)} contains a control character`);
  }
  return [...env].map(([key, value]) => `${key}=${value}`);
}

function set(env: Map<string, string>, where: string, key: string, value: string): void {
  if (key.includes("\0") || value.includes("\0")) {
    throw new BerthError("invalid-argument", `${where}: ${quote(key)} contains a NUL byte`);
  }
  env.set(key, value);
}

/** Whether a text has a byte below space, or DEL: never right in a name, a path of /etc/passwd or a host name. */
export function hasControlByte(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}

function latin1(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text);
}
