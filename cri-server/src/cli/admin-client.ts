import { type IncomingMessage, request } from "node:http";
import { createInterface } from "node:readline";

/** What the server said is wrong, or that it can't be reached. */
export class AdminFailure extends Error {}

/** Speaks with the server's admin socket. */
export class AdminClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Values as they come. Rejects with the server's message. */
  async *ask<T>(path: string, values: object = {}): AsyncIterable<T> {
    const answer = await this.bytes(path, values);
    for await (const line of createInterface({ input: answer })) {
      const value = JSON.parse(line) as { readonly error?: { readonly message: string } };
      if (value.error !== undefined) {
        throw new AdminFailure(value.error.message);
      }
      yield value as Awaited<T>;
    }
  }

  /** The answer's body, as it is. */
  async bytes(path: string, values: object): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const outgoing = request({ socketPath: this.#socket, path, method: "POST" }, resolve);
    outgoing.on("error", (error) => {
      reject(
        new AdminFailure(`the server can't be reached at ${this.#socket}: ${error.message}`, {
          cause: error,
        }),
      );
    });
    outgoing.end(JSON.stringify(values));
    const answer = await promise;
    if (answer.statusCode === 200) {
      return answer;
    }
    let text = "";
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      text += chunk.toString("utf8");
    }
    throw new AdminFailure((JSON.parse(text) as { message: string }).message);
  }
}
