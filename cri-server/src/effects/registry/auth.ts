import { createHash } from "node:crypto";
import { BerthError } from "../../errors/berth-error.ts";
import type { PullAuth } from "../../ports/images.ts";
import type { Challenge } from "./challenge.ts";
import { readBody, type TlsFiles, type Transport } from "./transport.ts";

const answerTimeoutMs = 30_000;
/** What the distribution token specification says a token without expires_in is good for. */
const defaultLifeSeconds = 60;

interface CachedToken {
  readonly token: string;
  readonly until: number;
}

/** The outcome of a challenge: the value of the Authorization header. */
export class TokenCache {
  readonly #tokens = new Map<string, CachedToken>();

  get(key: string): string | undefined {
    const cached = this.#tokens.get(key);
    if (cached === undefined || cached.until > Date.now()) {
      return cached?.token;
    }
    this.#tokens.delete(key);
    return undefined;
  }

  put(key: string, token: string, lifeSeconds: number): void {
    if (this.#tokens.size >= 1000) {
      this.#tokens.clear();
    }
    // Given back a little early: it has to last until the registry sees it.
    this.#tokens.set(key, { token, until: Date.now() + Math.max(0, lifeSeconds - 10) * 1000 });
  }
}

/** Whether these credentials say anything. */
export function isAnonymous(auth: PullAuth | undefined): boolean {
  return (
    auth === undefined ||
    (auth.username === "" && auth.password === "" && auth.identityToken === "" && auth.registryToken === "")
  );
}

/** Distinguishes credentials without keeping them: what one may see is never served to another. */
export function credentialsKey(auth: PullAuth | undefined): string {
  if (auth === undefined || isAnonymous(auth)) {
    return "";
  }
  const parts = [auth.username, auth.password, auth.identityToken, auth.registryToken, auth.serverAddress];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

export interface ChallengeAnswer {
  readonly auth: PullAuth | undefined;
  /** repository:library/busybox:pull */
  readonly scope: string;
  readonly tls: TlsFiles;
  /** Of the registry; a token service is not told secrets over less than that has. */
  readonly secure: boolean;
  /** What was just refused, so that it is not given again. */
  readonly refused: string | undefined;
  readonly signal: AbortSignal;
}

/** Answers a registry's challenge; undefined when there is nothing to answer with. */
export async function answerChallenge(
  transport: Transport,
  cache: TokenCache,
  challenges: readonly Challenge[],
  answer: ChallengeAnswer,
): Promise<string | undefined> {
  const { auth } = answer;
  if (auth !== undefined && auth.registryToken !== "") {
    return `Bearer ${auth.registryToken}`;
  }
  const bearer = challenges.find((challenge) => challenge.scheme === "bearer");
  if (bearer !== undefined) {
    return `Bearer ${await bearerToken(transport, cache, bearer, answer)}`;
  }
  const basic = challenges.some((challenge) => challenge.scheme === "basic");
  return basic && auth !== undefined && auth.username !== "" ? basicAuthorization(auth) : undefined;
}

function basicAuthorization(auth: PullAuth): string {
  return `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString("base64")}`;
}

async function bearerToken(
  transport: Transport,
  cache: TokenCache,
  { parameters }: Challenge,
  answer: ChallengeAnswer,
): Promise<string> {
  const realm = URL.parse(parameters.realm ?? "");
  if (realm === null || !["https:", "http:"].includes(realm.protocol)) {
    throw new BerthError(
      "pull-failed",
      `the registry names no usable token service: ${parameters.realm ?? "none"}`,
    );
  }
  const service = parameters.service ?? "";
  const scope = parameters.scope ?? answer.scope;
  const key = JSON.stringify([realm.href, service, scope, credentialsKey(answer.auth)]);
  const cached = cache.get(key);
  if (cached !== undefined && `Bearer ${cached}` !== answer.refused) {
    return cached;
  }
  if (!isAnonymous(answer.auth) && answer.secure && realm.protocol === "http:") {
    throw new BerthError(
      "pull-failed",
      `the token service ${realm.origin} would get the password unencrypted`,
    );
  }
  const { token, lifeSeconds } = await fetchToken(transport, realm, { service, scope }, answer);
  cache.put(key, token, lifeSeconds);
  return token;
}

interface TokenRequest {
  readonly service: string;
  readonly scope: string;
}

/** GET with basic credentials (distribution's token.md), POST with an identity token (its oauth.md). */
async function fetchToken(
  transport: Transport,
  realm: URL,
  { service, scope }: TokenRequest,
  { auth, tls, signal }: ChallengeAnswer,
): Promise<{ token: string; lifeSeconds: number }> {
  const common = { signal, timeoutMs: answerTimeoutMs };
  let answer: Awaited<ReturnType<Transport["send"]>>;
  if (auth !== undefined && auth.identityToken !== "") {
    const body = new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: auth.identityToken,
      service,
      scope,
      client_id: "berth",
    });
    answer = await transport.send(realm, tls, {
      ...common,
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: body.toString(),
    });
  } else {
    const url = new URL(realm);
    if (service !== "") {
      url.searchParams.set("service", service);
    }
    for (const one of scope.split(" ").filter((part) => part !== "")) {
      url.searchParams.append("scope", one);
    }
    const headers =
      auth !== undefined && auth.username !== "" ? { authorization: basicAuthorization(auth) } : {};
    answer = await transport.send(url, tls, { ...common, headers });
  }
  const text = (await readBody(answer, 1 << 20, answerTimeoutMs)).toString("utf8");
  if (answer.statusCode !== 200) {
    throw new BerthError(
      "pull-failed",
      `unauthorized: the token service ${realm.origin} answers ${answer.statusCode}`,
    );
  }
  return parseToken(text, realm);
}

function parseToken(text: string, realm: URL): { token: string; lifeSeconds: number } {
  let document: { token?: unknown; access_token?: unknown; expires_in?: unknown };
  try {
    document = JSON.parse(text) as typeof document;
  } catch (cause) {
    throw new BerthError(
      "pull-failed",
      `the token service ${realm.origin} answers something that is not JSON`,
      { cause },
    );
  }
  const token = document.token ?? document.access_token;
  if (typeof token !== "string" || token === "" || /[\r\n]/.test(token)) {
    throw new BerthError("pull-failed", `the token service ${realm.origin} answers without a token`);
  }
  const life = document.expires_in;
  return { token, lifeSeconds: typeof life === "number" && life > 0 ? life : defaultLifeSeconds };
}
