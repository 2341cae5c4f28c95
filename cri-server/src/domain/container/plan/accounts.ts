import { BerthError } from "../../../errors/berth-error.ts";

/**
 * So much of a passwd or group file is read at most, so that an image can't make the server read without end
 * (CVE-2023-25153). One that fills it may have been cut, and what an account is must not depend on a cut: it is refused.
 */
export const maxAccountFileBytes = 1 << 20;

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export interface Group {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** The entries of a passwd file; lines that are not entries (comments, NIS marks, bad numbers) are passed over, as libc does. */
export function parsePasswd(file: Uint8Array): readonly Account[] {
  const accounts: Account[] = [];
  for (const line of lines(file, "/etc/passwd")) {
    const [name, , uidText, gidText, , home = ""] = line.split(":");
    if (name === undefined || name === "" || name.startsWith("#")) continue;
    const uid = parseId(uidText ?? "");
    const gid = parseId(gidText ?? "");
    if (uid === undefined || gid === undefined) continue;
    accounts.push({ name, uid, gid, home });
  }
  return accounts;
}

/** The entries of a group file. */
export function parseGroup(file: Uint8Array): readonly Group[] {
  const groups: Group[] = [];
  for (const line of lines(file, "/etc/group")) {
    const [name, , gidText, members = ""] = line.split(":");
    if (name === undefined || name === "" || name.startsWith("#")) continue;
    const gid = parseId(gidText ?? "");
    if (gid === undefined) continue;
    groups.push({ name, gid, members: members.split(",").filter((member) => member !== "") });
  }
  return groups;
}

/** A uint32 in plain decimal digits, without the value that means "no change" to the kernel; undefined for all else. */
export function parseId(text: string): number | undefined {
  if (!/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value < 0xffff_ffff ? value : undefined;
}

function lines(file: Uint8Array, name: string): readonly string[] {
  if (file.length >= maxAccountFileBytes) {
    throw new BerthError(
      "invalid-argument",
      `image: ${name} has ${maxAccountFileBytes} bytes or more: that is over the limit`,
    );
  }
  return Buffer.from(file.buffer, file.byteOffset, file.length).toString("utf8").split("\n");
}
