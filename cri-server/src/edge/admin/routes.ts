import { explain } from "../../domain/explain/pod.ts";
import { fsck } from "../../domain/fsck/fsck.ts";
import { BerthError } from "../../errors/berth-error.ts";
import type { AdminDeps } from "./listen.ts";

/** One request of the berth command, and how to answer it: values as lines of JSON, or bytes. */
export interface AdminCall {
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  send(value: unknown): Promise<void>;
  sendBytes(bytes: Buffer): Promise<void>;
}

type Route = (deps: AdminDeps, call: AdminCall) => Promise<void>;

/** How often a pull says how far it is. */
const progressMs = 100;

export const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  [
    "/images/list",
    async ({ images }, call) => {
      for (const image of images.list()) {
        await call.send(image);
      }
    },
  ],
  ["/explain", async ({ operator }, call) => await call.send(await explain(operator, text(call, "subject")))],
  [
    "/fsck",
    async ({ operator }, call) => {
      for (const finding of await fsck(operator, call.arguments.repair === true)) {
        await call.send(finding);
      }
    },
  ],
  ["/images/inspect", async ({ images }, call) => await call.send(await images.inspect(text(call, "image")))],
  [
    "/images/tag",
    async ({ images }, call) => await call.send(await images.tag(text(call, "image"), text(call, "name"))),
  ],
  ["/images/remove", remove],
  ["/images/pull", pull],
  [
    "/images/load",
    async ({ images }, call) => {
      for (const image of await images.load(text(call, "path"), text(call, "name", ""), call.signal)) {
        await call.send(image);
      }
    },
  ],
  [
    "/images/save",
    async ({ images }, call) => {
      for await (const bytes of images.save(texts(call, "images"))) {
        await call.sendBytes(bytes);
      }
    },
  ],
  [
    "/images/verify",
    async ({ images }, call) => {
      for (const problem of await images.verify()) {
        await call.send(problem);
      }
    },
  ],
  [
    "/images/repair",
    async ({ images }, call) => {
      for (const repaired of await images.repair(call.signal)) {
        await call.send(repaired);
      }
    },
  ],
]);

async function remove({ images }: AdminDeps, call: AdminCall): Promise<void> {
  const name = text(call, "image");
  const image = images.find(name);
  if (image === undefined) {
    throw new BerthError("image-not-found", `image ${JSON.stringify(name)} is not in the store`);
  }
  await images.remove(image.id);
  await call.send(image);
}

async function pull({ images }: AdminDeps, call: AdminCall): Promise<void> {
  const reference = text(call, "image");
  const pulled = images.pull({ reference, auth: undefined, namespace: "" }, call.signal);
  const outcome = pulled.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([outcome, delay(progressMs)]))) {
    await call.send({ transfers: images.transfers() });
  }
  await call.send({ image: await pulled });
}

async function delay(milliseconds: number): Promise<false> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  return false;
}

function text(call: AdminCall, name: string, fallback?: string): string {
  const value = call.arguments[name] ?? fallback;
  if (typeof value !== "string") {
    throw new BerthError("invalid-argument", `${name} is missing`);
  }
  return value;
}

function texts(call: AdminCall, name: string): readonly string[] {
  const value = call.arguments[name];
  if (!Array.isArray(value) || !value.every((one) => typeof one === "string")) {
    throw new BerthError("invalid-argument", `${name} is not a list of names`);
  }
  return value;
}
