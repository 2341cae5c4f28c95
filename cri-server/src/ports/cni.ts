/** One call of one CNI plugin. The runner adds CNI_PATH and PATH. */
export interface PluginCall {
  readonly type: string;
  /** CNI_COMMAND and its fellows. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Buffer;
  readonly timeoutMs: number;
}

export interface PluginOutcome {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly timedOut: boolean;
}

/** Runs CNI plugins, wherever their code is. */
export interface PluginRunner {
  /** Rejects `network-failed` when there is no such plugin, and with the signal's reason when aborted (the plugin is dead then). */
  run(call: PluginCall, signal?: AbortSignal): Promise<PluginOutcome>;
  /** Which of these types can't be found now. */
  missing(types: readonly string[]): Promise<readonly string[]>;
  /** Where plugins are looked for, for messages. */
  readonly searched: readonly string[];
}

/** One attachment as it was asked for, kept so that DEL can repeat it after the configuration has changed. */
export interface CachedAttachment {
  readonly containerId: string;
  readonly ifName: string;
  readonly networkName: string;
  readonly netns: string;
  /** The network list, as text. */
  readonly config: string;
  readonly cniArgs: readonly (readonly [string, string])[];
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  /** Missing: ADD was begun, and nobody knows how far it came. */
  readonly result?: Readonly<Record<string, unknown>>;
  /** Written by this program; other runtimes may share the directory. */
  readonly ours: boolean;
}

/** Attachments on disk, in the format that other CNI runtimes and tools read. */
export interface AttachmentCache {
  put(attachment: CachedAttachment): Promise<void>;
  /** Everything of this container. `networkHint` saves a directory scan when the attachment is of that network. */
  find(containerId: string, networkHint: string): Promise<readonly CachedAttachment[]>;
  /** Everything that can be read. An entry that can't is logged and left out. */
  list(): Promise<readonly CachedAttachment[]>;
  remove(attachment: CachedAttachment): Promise<void>;
}

export interface ConfigFile {
  readonly name: string;
  readonly path: string;
  readonly text: string;
}

/** The directory of network configurations. */
export interface ConfigDirectory {
  readonly path: string;
  /** Candidates in the order of their names. An absent directory is empty. Files that can't be read are logged and left out. */
  read(): Promise<readonly ConfigFile[]>;
  /** Plugin configurations that belong to the list `name`: `<directory>/<name>/*.conf`. */
  readFragments(name: string): Promise<readonly ConfigFile[]>;
  /** Calls back soon after anything has changed, and now and then anyway. */
  watch(listener: () => void): void;
  close(): void;
}
