import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Image } from "../model/image.ts";
import type { ImageDetails, ImageProblem, Transfer } from "../ports/image-admin.ts";
import type { AdminClient } from "./admin-client.ts";
import { ProgressBars, showBytes } from "./progress-bar.ts";

/** A command line that can't be meant. */
export class UsageError extends Error {}

export const imageHelp = `berth image VERB

  pull NAME                     fetch an image, with its progress on a terminal
  list                          all images
  inspect IMAGE                 everything about one, as JSON: layers and where they lie, configuration, users
  tag IMAGE NAME                give an image one more name
  remove IMAGE...               remove images with all of their names
  load [--name NAME] FILE       take in an OCI layout (archive or directory) or an archive of docker save; - is standard input
  import NAME FILE              the same for an archive whose one image has no name
  save [-o FILE] IMAGE...       write an archive that other tools and docker load understand; default: standard output
  verify [--repair]             hash everything in the store; with --repair fetch again what is damaged
`;

type JsonImage = Omit<Image, "size"> & { readonly size: number };
type Verb = (client: AdminClient, words: readonly string[]) => Promise<number>;

const verbs: Readonly<Record<string, Verb>> = {
  pull,
  list: async (client) => await list(client),
  inspect: async (client, words) => {
    for await (const details of client.ask<ImageDetails>("/images/inspect", { image: one(words, "IMAGE") })) {
      const { manifest, config, ...rest } = details;
      print(JSON.stringify({ ...rest, manifest: JSON.parse(manifest), config: JSON.parse(config) }, null, 2));
    }
    return 0;
  },
  tag: async (client, words) => {
    const [image, name, ...more] = words;
    if (image === undefined || name === undefined || more.length > 0) {
      throw new UsageError("tag needs IMAGE and NAME");
    }
    return await show(client, "/images/tag", { image, name });
  },
  remove: async (client, words) => {
    if (words.length === 0) {
      throw new UsageError("remove needs IMAGE");
    }
    for (const image of words) {
      await show(client, "/images/remove", { image });
    }
    return 0;
  },
  load: async (client, words) => {
    const [first, name, file] = words;
    return first === "--name" ? await load(client, file, name ?? "") : await load(client, first, "");
  },
  import: async (client, words) => await load(client, words[1], words[0] ?? ""),
  save,
  verify,
};

/** Runs `berth image WORDS`. Resolves with the exit code. */
export async function runImage(client: AdminClient, [verb, ...words]: readonly string[]): Promise<number> {
  const run = verb === undefined ? undefined : verbs[verb];
  if (run === undefined) {
    throw new UsageError(verb === undefined ? "a verb is missing" : `unknown verb ${verb}`);
  }
  return await run(client, words);
}

async function pull(client: AdminClient, words: readonly string[]): Promise<number> {
  const bars = new ProgressBars(process.stderr);
  type Step = { readonly transfers?: readonly Transfer[]; readonly image?: JsonImage };
  for await (const { transfers, image } of client.ask<Step>("/images/pull", { image: one(words, "NAME") })) {
    if (transfers !== undefined) {
      bars.draw(transfers);
    }
    if (image !== undefined) {
      bars.finish();
      print(image.id);
    }
  }
  return 0;
}

async function list(client: AdminClient): Promise<number> {
  const rows: string[][] = [["NAME", "ID", "SIZE"]];
  for await (const image of client.ask<JsonImage>("/images/list")) {
    const names =
      image.repoTags.length > 0 ? image.repoTags : image.repoDigests.length > 0 ? image.repoDigests : ["-"];
    for (const name of names) {
      rows.push([name, image.id.slice(7, 20), showBytes(image.size)]);
    }
  }
  const widths = [0, 1].map((n) => Math.max(...rows.map((row) => row[n]?.length ?? 0)) + 2);
  for (const [name = "", id = "", size = ""] of rows) {
    print(`${name.padEnd(widths[0] ?? 0)}${id.padEnd(widths[1] ?? 0)}${size}`);
  }
  return 0;
}

/** The server reads the file itself; what comes by standard input is put into one first. */
async function load(client: AdminClient, file: string | undefined, name: string): Promise<number> {
  if (file === undefined) {
    throw new UsageError("FILE is missing");
  }
  if (file !== "-") {
    return await show(client, "/images/load", { path: resolve(file), name });
  }
  const directory = await mkdtemp(join(tmpdir(), "berth-load-"));
  try {
    const path = join(directory, "archive.tar");
    await pipeline(process.stdin, createWriteStream(path, { mode: 0o600 }));
    return await show(client, "/images/load", { path, name });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function save(client: AdminClient, words: readonly string[]): Promise<number> {
  const toFile = words[0] === "-o";
  const images = toFile ? words.slice(2) : words;
  const path = toFile ? words[1] : undefined;
  if (images.length === 0) {
    throw new UsageError("save needs IMAGE");
  }
  if (path === undefined && process.stdout.isTTY) {
    throw new UsageError("an archive is nothing for a terminal: give -o FILE");
  }
  const answer = await client.bytes("/images/save", { images });
  await pipeline(answer, path === undefined ? process.stdout : createWriteStream(path));
  return 0;
}

async function verify(client: AdminClient, words: readonly string[]): Promise<number> {
  const repair = words[0] === "--repair";
  let damaged = 0;
  for await (const problem of client.ask<ImageProblem>(repair ? "/images/repair" : "/images/verify")) {
    const mended = repair && problem.what === "";
    damaged += mended ? 0 : 1;
    print(`${problem.blob}: ${mended ? "fetched again" : problem.what} (of ${problem.images.join(", ")})`);
  }
  print(damaged === 0 ? "the store is whole" : `${damaged} layers are damaged`);
  return damaged === 0 ? 0 : 1;
}

async function show(client: AdminClient, path: string, values: object): Promise<number> {
  for await (const image of client.ask<JsonImage>(path, values)) {
    print([image.id, ...image.repoTags].join(" "));
  }
  return 0;
}

function one(words: readonly string[], what: string): string {
  const [word, ...more] = words;
  if (word === undefined || more.length > 0) {
    throw new UsageError(`exactly one ${what} is needed`);
  }
  return word;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
