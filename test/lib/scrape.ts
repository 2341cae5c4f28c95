import { type IncomingMessage, type RequestOptions, request } from "node:http";

export interface HttpAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** One HTTP request without a body. */
export async function ask(options: RequestOptions): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request({ method: "GET", agent: false, ...options }, resolve)
    .on("error", reject)
    .end();
  const answer = await promise;
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  return {
    status: answer.statusCode ?? 0,
    type: answer.headers["content-type"] ?? "",
    body: Buffer.concat(chunks).toString("utf8"),
  };
}

/** Samples by `name{label="value",…}` with the labels sorted. */
export type Samples = ReadonlyMap<string, number>;

const sample = /^([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$/;

/**
 * Reads Prometheus's text format, strictly: each metric has its help and type before its samples, in one block, and no
 * sample comes twice; histograms are cumulative and end with what `_count` says.
 */
export function parseExposition(text: string): Samples {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const samples = new Map<string, number>();
  const seen = new Set<string>();
  let current = { name: "", type: "" };
  for (const line of text.slice(0, -1).split("\n")) {
    const head = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (head !== null) {
      const [, what, name = "", rest = ""] = head;
      if (what === "HELP" && seen.has(name)) throw new Error(`${name} has two blocks`);
      seen.add(name);
      current = { name, type: what === "TYPE" ? rest : "" };
      continue;
    }
    const [, name = "", labels = "", value = ""] = sample.exec(line) ?? [];
    const base = current.type === "histogram" ? name.replace(/_(bucket|sum|count)$/, "") : name;
    if (name === "" || base !== current.name || current.type === "") throw new Error(`out of place: ${line}`);
    const pairs = labels.match(/[a-z_]+="(?:[^"\\]|\\.)*"/g) ?? [];
    const key = pairs.length === 0 ? name : `${name}{${pairs.toSorted().join(",")}}`;
    if (samples.has(key)) throw new Error(`twice: ${line}`);
    if (Number.isNaN(Number(value))) throw new Error(`no number: ${line}`);
    samples.set(key, Number(value));
  }
  checkHistograms(samples);
  return samples;
}

function checkHistograms(samples: Samples): void {
  const last = new Map<string, number>();
  for (const [key, value] of samples) {
    if (!key.includes("_bucket{")) continue;
    const group = key.replace(/,?le="[^"]*"/, "").replace("{,", "{");
    if (value < (last.get(group) ?? 0)) throw new Error(`${key} counts less than the bucket before`);
    last.set(group, value);
  }
  for (const [group, total] of last) {
    const count = group.replace("_bucket", "_count").replace("{}", "");
    if (samples.get(count) !== total) throw new Error(`${count} is not what its last bucket has`);
  }
}
