import { BerthError } from "../../errors/berth-error.ts";
import type { Digest } from "../../model/ids.ts";
import type { ImageReference } from "../../model/image.ts";

const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const host =
  /^(?:\[[0-9a-fA-F:]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)(?::[0-9]+)?$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;
const idPattern = /^[0-9a-f]{64}$/;

/** Tells a whole digest from other text. */
export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

/** Parses a name as users write it; the registry defaults to docker.io, the tag to `latest`. Throws `invalid-argument`. */
export function parseReference(text: string): ImageReference {
  const at = text.indexOf("@");
  const named = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest)) {
    throw invalid(text, `its digest ${JSON.stringify(digest)} is not sha256: and 64 hexadecimal digits`);
  }
  const colon = named.lastIndexOf(":");
  const tagged = colon > named.lastIndexOf("/");
  const name = tagged ? named.slice(0, colon) : named;
  const tag = tagged ? named.slice(colon + 1) : "latest";
  if (!tagPattern.test(tag)) {
    throw invalid(text, `its tag ${JSON.stringify(tag)} is not a tag`);
  }
  const { registry, repository } = splitName(name, text);
  return { registry, repository, tag: digest === undefined ? tag : "", digest };
}

function splitName(name: string, text: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isHost = first.includes(".") || first.includes(":") || first === "localhost" || /[A-Z]/.test(first);
  let registry = isHost ? first : "docker.io";
  let repository = isHost ? name.slice(slash + 1) : name;
  if (!host.test(registry)) {
    throw invalid(text, `${JSON.stringify(registry)} is not a host`);
  }
  if (registry === "index.docker.io") {
    registry = "docker.io";
  }
  if (registry === "docker.io" && !repository.includes("/")) {
    // 64 digits mean an image's id everywhere, so the same text can't be a short name as well.
    if (idPattern.test(repository)) {
      throw invalid(text, "it is an image's id, not a name");
    }
    repository = `library/${repository}`;
  }
  if (!repository.split("/").every((part) => component.test(part))) {
    throw invalid(text, `${JSON.stringify(repository)} is not the name of a repository`);
  }
  if (registry.length + 1 + repository.length > 255) {
    throw invalid(text, "it has more than 255 characters");
  }
  return { registry, repository };
}

function invalid(text: string, why: string): BerthError {
  return new BerthError("invalid-argument", `image reference ${JSON.stringify(text)}: ${why}`);
}

/** Registry and repository: docker.io/library/busybox. */
export function repositoryName(reference: ImageReference): string {
  return `${reference.registry}/${reference.repository}`;
}

/** The one form in which names are kept, compared and shown. */
export function canonicalName(reference: ImageReference): string {
  const name = repositoryName(reference);
  return reference.digest === undefined ? `${name}:${reference.tag}` : `${name}@${reference.digest}`;
}
