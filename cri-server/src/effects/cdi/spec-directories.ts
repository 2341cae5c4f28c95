import { readdir, readFile, stat } from "node:fs/promises";
import { posix } from "node:path";
import { BerthError } from "../../errors/berth-error.ts";
import type { CdiDevices, CdiEdits } from "../../ports/cdi.ts";
import type { CdiSpec } from "./spec.ts";
import { parseSpec } from "./spec.ts";

/** A spec for every partition of eight large accelerators has about half a megabyte. */
const maxSpecBytes = 8 << 20;

/** A file as it was when it was read last. */
interface Entry {
  /** Changes when the file does. */
  readonly version: string;
  readonly spec: CdiSpec | undefined;
  /** Why it can't be used. */
  readonly complaint: string | undefined;
}

interface Device {
  readonly spec: CdiSpec;
  readonly edits: CdiEdits;
  readonly priority: number;
  /** Another file of the same directory that defines it too. */
  readonly rival: CdiSpec | undefined;
}

/**
 * The specs of some directories, of which a later one wins. Looked at when a container asks for a device, so that a change
 * is seen at once, without a watcher that could miss it; a file that has not changed isn't read again.
 */
export class SpecDirectories implements CdiDevices {
  readonly #directories: readonly string[];
  #known: ReadonlyMap<string, Entry> = new Map();

  constructor(directories: readonly string[]) {
    this.#directories = directories;
  }

  async resolve(names: readonly string[]): Promise<readonly CdiEdits[]> {
    if (names.length === 0) return [];
    const { devices, complaints } = await this.#scan();
    const found = names.map((name) => ({ name, device: devices.get(name) }));
    const problems = found.flatMap(({ name, device }) => {
      if (device === undefined) return [`${JSON.stringify(name)} is not defined`];
      const { spec, rival } = device;
      return rival === undefined ? [] : [`${JSON.stringify(name)} is in both ${spec.path} and ${rival.path}`];
    });
    if (problems.length > 0) {
      const searched = this.#directories.join(", ");
      const unusable = complaints.map((complaint) => `; ${complaint}`).join("");
      throw new BerthError(
        "invalid-argument",
        `CDI_devices: ${problems.join("; ")} (specs in ${searched})${unusable}`,
      );
    }
    const opened = new Set<CdiSpec>();
    return found.flatMap(({ device }) => {
      if (device === undefined) return [];
      const isFirst = !opened.has(device.spec);
      opened.add(device.spec);
      return isFirst ? [device.spec.edits, device.edits] : [device.edits];
    });
  }

  async #scan(): Promise<{ devices: ReadonlyMap<string, Device>; complaints: readonly string[] }> {
    const files = await Promise.all(this.#directories.map(specFiles));
    const known = new Map<string, Entry>();
    const devices = new Map<string, Device>();
    const complaints: string[] = [];
    for (const [priority, paths] of files.entries()) {
      for (const path of paths) {
        const entry = await readEntry(path, this.#known.get(path));
        if (entry === undefined) continue;
        known.set(path, entry);
        if (entry.complaint !== undefined) complaints.push(entry.complaint);
        if (entry.spec !== undefined) addDevices(devices, entry.spec, priority);
      }
    }
    this.#known = known;
    return { devices, complaints };
  }
}

function addDevices(devices: Map<string, Device>, spec: CdiSpec, priority: number): void {
  for (const [name, edits] of spec.devices) {
    const key = `${spec.kind}=${name}`;
    const other = devices.get(key);
    const rival = other !== undefined && other.priority === priority ? other.spec : undefined;
    devices.set(key, { spec, edits, priority, rival });
  }
}

async function specFiles(directory: string): Promise<readonly string[]> {
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => name.endsWith(".json") || name.endsWith(".yaml"))
      .toSorted()
      .map((name) => posix.join(directory, name));
  } catch (error) {
    if (isGone(error)) return [];
    throw new BerthError("internal", `CDI spec directory ${directory}: can't be read`, { cause: error });
  }
}

/** undefined: there is no such file any more. */
async function readEntry(path: string, known: Entry | undefined): Promise<Entry | undefined> {
  try {
    const info = await stat(path, { bigint: true });
    const { dev, ino, size, mtimeNs, ctimeNs } = info;
    const version = [dev, ino, size, mtimeNs, ctimeNs].join(":");
    if (known?.version === version) return known;
    if (!info.isFile() || size > maxSpecBytes) {
      const complaint = `CDI spec ${path}: is not a file of at most ${maxSpecBytes} bytes`;
      return { version, spec: undefined, complaint };
    }
    const text = await readFile(path, "utf8");
    try {
      return { version, spec: await parseSpec(path, text), complaint: undefined };
    } catch (error) {
      // One vendor's mistake must not cost the others their devices; who asks for one of these is told.
      if (error instanceof BerthError) return { version, spec: undefined, complaint: error.message };
      throw error;
    }
  } catch (error) {
    if (isGone(error)) return undefined;
    if (error instanceof BerthError) throw error;
    return {
      version: "",
      spec: undefined,
      complaint: `CDI spec ${path}: can't be read (${errorCode(error)})`,
    };
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

function isGone(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(errorCode(error));
}
