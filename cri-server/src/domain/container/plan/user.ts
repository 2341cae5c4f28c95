import { BerthError } from "../../../errors/berth-error.ts";
import type { ResolvedUser, UserRequest } from "../../../model/container.ts";
import type { Account, Group } from "./accounts.ts";
import { parseGroup, parseId, parsePasswd } from "./accounts.ts";
import { hasControlByte } from "./env.ts";

export interface UserInput {
  readonly request: UserRequest;
  /** The image's config.User: user[:group], each a number or a name. */
  readonly imageUser: string;
  readonly passwd: Uint8Array;
  readonly group: Uint8Array;
}

/**
 * Who the process runs as. A number is always an id and never looked up as a name, however large it is: an image's passwd
 * could name root by it (CVE-2024-40635 and its followers).
 */
export function resolveUser(input: UserInput): ResolvedUser {
  const accounts = parsePasswd(input.passwd);
  const groups = parseGroup(input.group);
  const { request } = input;
  const wanted = wantedUser(input);
  if (request.gid !== undefined && request.uid === undefined && request.username === undefined) {
    throw new BerthError(
      "invalid-argument",
      `security_context.run_as_group: ${request.gid} was given without run_as_user or run_as_username`,
    );
  }
  const account = findAccount(accounts, wanted.user, wanted.field);
  const gid =
    request.gid !== undefined
      ? id(request.gid, "security_context.run_as_group")
      : wanted.group !== undefined
        ? findGroup(groups, wanted.group, wanted.field)
        : account.gid;
  const home = account.home === "" ? "/" : account.home;
  if (hasControlByte(home)) {
    throw new BerthError("invalid-argument", "image: /etc/passwd has a home with a control character");
  }
  return { uid: account.uid, gid, groups: supplementalGroups(request, account, gid, groups), home };
}

function supplementalGroups(
  request: UserRequest,
  account: Account,
  gid: number,
  groups: readonly Group[],
): readonly number[] {
  const requested = request.supplementalGroups.map((group) =>
    id(group, "security_context.supplemental_groups"),
  );
  // The primary group is listed too: leaving it out lets a process dodge files that deny its group (CVE-2022-2995).
  const all = [gid, ...requested];
  switch (request.groupsPolicy) {
    case "strict":
      break;
    case "merge":
      if (account.name !== "") {
        for (const group of groups) if (group.members.includes(account.name)) all.push(group.gid);
      }
      break;
  }
  return [...new Set(all)];
}

interface WantedUser {
  readonly field: string;
  readonly user: string;
  readonly group: string | undefined;
}

function wantedUser({ request, imageUser }: UserInput): WantedUser {
  if (request.uid !== undefined && request.username !== undefined) {
    throw new BerthError(
      "invalid-argument",
      `security_context: run_as_user ${request.uid} and run_as_username ${JSON.stringify(request.username)} exclude each other`,
    );
  }
  if (request.uid !== undefined) {
    const field = "security_context.run_as_user";
    return { field, user: String(id(request.uid, field)), group: undefined };
  }
  if (request.username !== undefined) {
    const field = "security_context.run_as_username";
    return { field, user: name(request.username, field), group: undefined };
  }
  if (imageUser === "") return { field: "image config.User", user: "0", group: undefined };
  const field = "image config.User";
  const at = imageUser.indexOf(":");
  if (at < 0) return { field, user: name(imageUser, field), group: undefined };
  const user = imageUser.slice(0, at);
  const group = imageUser.slice(at + 1);
  // ":group" is root with another group, and "user:" has no group: both are in use.
  return {
    field,
    user: user === "" ? "0" : name(user, field),
    group: group === "" ? undefined : name(group, field),
  };
}

function findAccount(accounts: readonly Account[], user: string, field: string): Account {
  if (looksNumeric(user)) {
    const uid = numeric(user, field);
    return accounts.find((account) => account.uid === uid) ?? { name: "", uid, gid: 0, home: "/" };
  }
  const found = accounts.find((account) => account.name === user);
  if (found) return found;
  throw new BerthError(
    "invalid-argument",
    `${field}: no user ${JSON.stringify(user)} in the image's /etc/passwd`,
  );
}

function findGroup(groups: readonly Group[], group: string, field: string): number {
  if (looksNumeric(group)) return numeric(group, field);
  const found = groups.find((entry) => entry.name === group);
  if (found) return found.gid;
  throw new BerthError(
    "invalid-argument",
    `${field}: no group ${JSON.stringify(group)} in the image's /etc/group`,
  );
}

function looksNumeric(text: string): boolean {
  return /^[+-]?[0-9]+$/.test(text);
}

function numeric(text: string, field: string): number {
  const value = parseId(text);
  if (value !== undefined) return value;
  throw new BerthError(
    "invalid-argument",
    `${field}: ${JSON.stringify(text)} is not an id from 0 to 4294967294`,
  );
}

function id(value: bigint, field: string): number {
  if (value < 0n || value >= 0xffff_ffffn) {
    throw new BerthError("invalid-argument", `${field}: ${value} is not an id from 0 to 4294967294`);
  }
  return Number(value);
}

function name(text: string, field: string): string {
  if (text === "" || text.length > 256 || hasControlByte(text)) {
    throw new BerthError("invalid-argument", `${field}: ${JSON.stringify(text.slice(0, 256))} is not a name`);
  }
  return text;
}
