import type { AuthConfig, ImageSpec } from "../../../proto/gen/api.ts";
import type { PullAuth } from "../ports/images.ts";
import { hasControl, invalid, required } from "./check.ts";

/** More than any name can have; the grammar itself is checked where names are understood. */
const maxLength = 1024;

/** ImageSpec.image of a request that has to name one. */
export function toImageName(spec: ImageSpec | undefined): string {
  const { image } = required(spec, "image");
  if (image === "") {
    throw invalid("image.image", image, "must not be empty");
  }
  if (image.length > maxLength || hasControl(image)) {
    throw invalid("image.image", image, "is not the name of an image");
  }
  return image;
}

/** ImageSpec.image of a filter; undefined lets every image pass. */
export function toImageFilter(spec: ImageSpec | undefined): string | undefined {
  return spec === undefined || spec.image === "" ? undefined : toImageName(spec);
}

/**
 * Credentials in any of the forms that clients send: user and password, both in base64 (`auth`, as in a Docker
 * configuration), an identity token, or a registry token. Values are never shown.
 */
export function toPullAuth(auth: AuthConfig | undefined): PullAuth | undefined {
  if (auth === undefined) {
    return undefined;
  }
  const fields = { ...auth };
  if (auth.username === "" && auth.password === "" && auth.auth !== "") {
    const [username, password] = decodeAuth(auth.auth);
    fields.username = username;
    fields.password = password;
  }
  const { username, password, identityToken, registryToken, serverAddress } = fields;
  if ([username, password, identityToken, registryToken, serverAddress].some(hasControl)) {
    throw invalid("auth", "(hidden)", "has control characters in it");
  }
  return { username, password, identityToken, registryToken, serverAddress };
}

function decodeAuth(encoded: string): [string, string] {
  // Docker pads passwords with NULs.
  const text = Buffer.from(encoded, "base64").toString("utf8").replace(/\0+$/, "");
  const colon = text.indexOf(":");
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(encoded) || colon < 0) {
    throw invalid("auth.auth", "(hidden)", "is not user:password in base64");
  }
  return [text.slice(0, colon), text.slice(colon + 1)];
}
