import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parse, stringify } from "../../lib/json.ts";
import type { Container } from "../../model/container.ts";
import type { Sandbox } from "../../model/sandbox.ts";
import type { Logger } from "../../ports/logger.ts";
import type { RecordStore, StoredState } from "../../ports/store.ts";
import type { Change } from "./journal.ts";
import { Journal } from "./journal.ts";

/** Layout version of a record; a reader of a later version migrates, a reader of an earlier one leaves it alone. */
const version = 1;

type Kind = "sandbox" | "container";

interface StoredRecord {
  readonly v: number;
  readonly kind: Kind;
  readonly id: string;
  /** Missing: the record has ended. */
  readonly value?: unknown;
}

/** Opens the records under `root`: one journal file, `<root>/journal`. */
export async function openRecords(root: string, log: Logger): Promise<RecordStore> {
  await mkdir(root, { recursive: true, mode: 0o711 });
  const journal = new Journal(join(root, "journal"), removalOf);
  return {
    load: () => loadRecords(journal, log),
    putSandbox: (sandbox) =>
      journal.put(
        keyOf("sandbox", sandbox.id),
        payloadOf("sandbox", sandbox),
        isEnding(sandbox.status.phase),
      ),
    deleteSandbox: (id) => journal.delete(keyOf("sandbox", id)),
    putContainer: (container) =>
      journal.put(
        keyOf("container", container.id),
        payloadOf("container", container),
        isEnding(container.status.phase),
      ),
    deleteContainer: (id) => journal.delete(keyOf("container", id)),
    size: () => journal.size,
    close: () => journal.close(),
  };
}

/** Phases on the way to a removal: what makes room must not need room. */
function isEnding(phase: Sandbox["status"]["phase"] | Container["status"]["phase"]): boolean {
  return ["exited", "stopping", "notready", "removing"].includes(phase);
}

async function loadRecords(journal: Journal, log: Logger): Promise<StoredState> {
  const sandboxes: Sandbox[] = [];
  const containers: Container[] = [];
  const content = await journal.load((payload) => decode(payload, log));
  for (const [start, end] of content.damaged) {
    log.error({ start, end }, "a damaged part of the journal was skipped");
  }
  for (const payload of content.entries.values()) {
    const record = readRecord(payload);
    if (record?.kind === "sandbox") {
      // The checksum says that this is what putSandbox wrote, so its shape is known.
      sandboxes.push(record.value as Sandbox);
    } else if (record?.kind === "container") {
      containers.push(record.value as Container);
    }
  }
  return { sandboxes, containers };
}

function decode(payload: Buffer, log: Logger): Change | undefined {
  try {
    const record = readRecord(payload);
    if (record === undefined) {
      log.error(
        { payload: payload.subarray(0, 200).toString("latin1") },
        "a record of an unknown layout was left out",
      );
      return undefined;
    }
    const key = keyOf(record.kind, record.id);
    return record.value === undefined ? { key, payload: undefined } : { key, payload };
  } catch (error) {
    log.error({ err: error }, "a record that can't be read was left out");
    return undefined;
  }
}

function readRecord(payload: Buffer): StoredRecord | undefined {
  const record = parse(payload.toString("utf8"));
  if (typeof record !== "object" || record === null || !("v" in record) || record.v !== version) {
    return undefined;
  }
  return record as StoredRecord;
}

function keyOf(kind: Kind, id: string): string {
  return `${kind}/${id}`;
}

function payloadOf(kind: Kind, value: Sandbox | Container): Buffer {
  const record: StoredRecord = { v: version, kind, id: value.id, value };
  return Buffer.from(stringify(record), "utf8");
}

function removalOf(key: string): Buffer {
  const cut = key.indexOf("/");
  return Buffer.from(stringify({ v: version, kind: key.slice(0, cut), id: key.slice(cut + 1) }), "utf8");
}
