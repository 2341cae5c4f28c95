import type { IncomingMessage } from "node:http";
import { BerthError } from "../../errors/berth-error.ts";
import type { PullAuth } from "../../ports/images.ts";
import { answerChallenge, type TokenCache } from "./auth.ts";
import { parseChallenges } from "./challenge.ts";
import { HttpFailure } from "./failure.ts";
import type { RegistryHost } from "./hosts-toml.ts";
import { discardBody, readBody, type TlsFiles, type Transport } from "./transport.ts";

const maxRedirects = 10;

export interface HostClientOptions {
  readonly transport: Transport;
  readonly tokens: TokenCache;
  readonly host: RegistryHost;
  readonly tls: TlsFiles;
  /** As the mirrors know it. */
  readonly repository: string;
  /** What a mirror needs to know to find the registry that it stands for. */
  readonly namespace: string;
  readonly auth: PullAuth | undefined;
  readonly answerTimeoutMs: number;
}

export interface Ask {
  readonly method?: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** See HttpRequest. */
  readonly bulk?: boolean;
  readonly signal: AbortSignal;
}

/** One host of a repository: knows how to be let in, and follows redirects without carrying secrets away. */
export class HostClient {
  readonly #options: HostClientOptions;
  /** What the last challenge was answered with. */
  #authorization: string | undefined;

  constructor(options: HostClientOptions) {
    this.#options = options;
    const token = options.auth?.registryToken ?? "";
    this.#authorization = token === "" ? undefined : `Bearer ${token}`;
  }

  get name(): string {
    return new URL(this.#options.host.baseUrl).host;
  }

  get host(): RegistryHost {
    return this.#options.host;
  }

  /** GETs `<repository>/<path>`. Resolves with a success and its unread body, rejects with HttpFailure otherwise. */
  async get(path: string, ask: Ask): Promise<IncomingMessage> {
    const { host, repository, namespace } = this.#options;
    const url = new URL(`${host.baseUrl}/${repository}/${path}`);
    if (namespace !== "") {
      url.searchParams.set("ns", namespace);
    }
    const used = this.#authorization;
    let answer = await this.#follow(url, ask);
    if (answer.statusCode === 401 && (await this.#authorize(answer, used, ask.signal))) {
      await discardBody(answer);
      answer = await this.#follow(url, ask);
    }
    const status = answer.statusCode ?? 0;
    if (status < 200 || status > 299) {
      throw await toFailure(answer, status);
    }
    return answer;
  }

  /** Whether it is worth to ask again, after `used` was refused. */
  async #authorize(answer: IncomingMessage, used: string | undefined, signal: AbortSignal): Promise<boolean> {
    const { transport, tokens, auth, repository, tls, host } = this.#options;
    // A request beside this one has been let in meanwhile.
    if (this.#authorization !== used) {
      return true;
    }
    this.#authorization = await answerChallenge(
      transport,
      tokens,
      parseChallenges(answer.headers["www-authenticate"] ?? ""),
      {
        auth,
        scope: `repository:${repository}:pull`,
        tls,
        secure: host.baseUrl.startsWith("https:"),
        refused: used,
        signal,
      },
    );
    return this.#authorization !== undefined && this.#authorization !== used;
  }

  async #follow(start: URL, ask: Ask): Promise<IncomingMessage> {
    const { transport, tls, host, answerTimeoutMs } = this.#options;
    let url = start;
    for (let hop = 0; hop <= maxRedirects; hop++) {
      // Content delivery networks refuse a second way of authentication, and need not see the first.
      const home = url.host === start.host && url.protocol === start.protocol;
      const secrets = home
        ? {
            ...host.headers,
            ...(this.#authorization === undefined ? {} : { authorization: this.#authorization }),
          }
        : {};
      const answer = await transport.send(url, tls, {
        method: ask.method ?? "GET",
        headers: { ...ask.headers, ...secrets },
        bulk: ask.bulk ?? false,
        signal: ask.signal,
        timeoutMs: answerTimeoutMs,
      });
      const status = answer.statusCode ?? 0;
      const location = answer.headers.location;
      if (![301, 302, 303, 307, 308].includes(status) || location === undefined) {
        return answer;
      }
      await discardBody(answer);
      const next = URL.parse(location, url.href);
      if (next === null || !["http:", "https:"].includes(next.protocol)) {
        throw new BerthError("pull-failed", `${start.host} redirects to ${JSON.stringify(location)}`);
      }
      url = next;
    }
    throw new BerthError("pull-failed", `${start.host} redirects more than ${maxRedirects} times`);
  }
}

async function toFailure(answer: IncomingMessage, status: number): Promise<HttpFailure> {
  const body = await readBody(answer, 64 * 1024, 2000).catch(() => Buffer.alloc(0));
  let detail = "";
  try {
    const { errors } = JSON.parse(body.toString("utf8")) as {
      errors?: { code?: string; message?: string }[];
    };
    detail = (errors ?? []).map((one) => `${one.code ?? ""} ${one.message ?? ""}`.trim()).join(", ");
  } catch {
    // An error page of a proxy: the status has to do.
  }
  const printable = detail.replace(/[^\x20-\x7e]/g, "?").slice(0, 300);
  return new HttpFailure(
    status,
    printable === "" ? `${status}` : `${status} (${printable})`,
    retryAfter(answer),
  );
}

function retryAfter(answer: IncomingMessage): number | undefined {
  const value = answer.headers["retry-after"];
  if (value === undefined) {
    return undefined;
  }
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(milliseconds) ? Math.max(0, milliseconds) : undefined;
}
