import type { Container } from "../model/container.ts";
import type { Sandbox } from "../model/sandbox.ts";

/** What was found on disk at start. A record that can't be read is left out and logged; it never stops the server. */
export interface StoredState {
  readonly sandboxes: readonly Sandbox[];
  readonly containers: readonly Container[];
}

/**
 * The durable records of sandboxes and containers. A promise resolves when the change would survive a power cut;
 * concurrent changes share one flush.
 */
export interface RecordStore {
  load(): Promise<StoredState>;
  putSandbox(sandbox: Sandbox): Promise<void>;
  deleteSandbox(id: string): Promise<void>;
  putContainer(container: Container): Promise<void>;
  deleteContainer(id: string): Promise<void>;
  /** Bytes of the journal: in use, and what a rewrite would keep of them. From memory. */
  size(): { readonly written: number; readonly live: number };
  close(): Promise<void>;
}
