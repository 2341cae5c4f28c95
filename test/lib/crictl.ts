import { type CommandOptions, type Outcome, outcomeOf } from "./command.ts";

/** Stock crictl against one socket. */
export class Crictl {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  outcomeOf(args: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
    const endpoint = `unix://${this.#socket}`;
    const flags = ["--runtime-endpoint", endpoint, "--image-endpoint", endpoint, "--timeout", "30s"];
    return outcomeOf("crictl", [...flags, ...args], options);
  }

  /** Resolves with the standard output, trimmed; throws unless crictl succeeded. */
  async run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.outcomeOf(args);
    if (code !== 0) throw new Error(`crictl ${args.join(" ")} ended with ${code}: ${stderr.trim()}`);
    return stdout.trim();
  }

  /** The same, parsed as JSON. */
  async json(verb: string, ...args: string[]): Promise<unknown> {
    return JSON.parse(await this.run(verb, "--output", "json", ...args));
  }
}
