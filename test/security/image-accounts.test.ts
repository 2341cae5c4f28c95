import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContainerConfig, DeepPartial } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { pushHostile } from "../lib/hostile-image.ts";
import { pull, TestPod } from "../lib/pod.ts";
import type { TarEntry } from "../lib/tar-archive.ts";

let server: Berthd;
let pod: TestPod;

beforeAll(async () => {
  server = await Berthd.start();
  pod = await TestPod.run(server);
});

afterAll(() => server[Symbol.asyncDispose]());

async function imageWith(name: string, entries: readonly TarEntry[], User = ""): Promise<string> {
  const image = await pushHostile({ name, entries, config: { User } });
  await pull(server, image);
  return image;
}

type Security = NonNullable<DeepPartial<ContainerConfig>["linux"]>["securityContext"];

const create = (image: string, securityContext: Security = {}) =>
  pod.create({ image: { image }, linux: { securityContext } });

/** Unknown to every kernel: opening it says ENODEV, so that an open can be told from none. */
const nobodysDevice = { type: "3", major: 10, minor: 254 } as const;

const twoMebibytes = Buffer.alloc(2 << 20, "x");

/** What may stand in the place of /etc/passwd or /etc/group (CVE-2023-25153, CVE-2024-9676, CVE-2025-4437, CVE-2026-47262). */
const kinds: readonly (readonly [string, Omit<TarEntry, "name">, RegExp])[] = [
  ["a named pipe", { type: "6" }, /no user "eve"/],
  ["a device", nobodysDevice, /no user "eve"/],
  ["the machine's memory", { type: "3", major: 1, minor: 1 }, /no user "eve"/],
  ["a link to zeros without end", { type: "2", link: "../dev/zero" }, /no user "eve"/],
  ["a link to the host's own", { type: "2", link: "../../../../../../../etc/hostname" }, /no user "eve"/],
  ["a link to itself", { type: "2", link: "passwd" }, /no user "eve"/],
  ["a directory", { type: "5" }, /no user "eve"/],
  ["two mebibytes", { data: twoMebibytes }, /over the limit/],
];

describe("an image whose account files are", () => {
  it.each(kinds)("%s names nobody, holds up nothing and is not opened", async (what, entry, refusal) => {
    const image = await imageWith(`passwd-${what.replaceAll(/\W+/g, "-")}`, [
      { name: "etc/passwd", ...entry },
    ]);
    const start = performance.now();
    await expect(create(image, { runAsUsername: "eve" })).rejects.toThrow(refusal);
    expect(performance.now() - start).toBeLessThan(3000);
    if (refusal.source.includes("limit")) return;
    // And who does not need the file does without.
    const container = await (await create(image, { runAsUser: { value: 7n } })).start();
    expect(await container.sh("grep Uid /proc/self/status")).toBe("Uid:\t7\t7\t7\t7");
  });

  it("a group file that is a FIFO, or one of two mebibytes", async () => {
    const fifo = await imageWith("group-fifo", [{ name: "etc/group", type: "6" }]);
    expect(await (await (await create(fifo)).start()).sh("grep Groups /proc/self/status")).toMatch(
      /^Groups:\t0 *$/,
    );
    const large = await imageWith("group-large", [{ name: "etc/group", data: twoMebibytes }]);
    await expect(create(large)).rejects.toThrow("over the limit");
  });
});

describe("an image whose user is a number", () => {
  const passwd = "root:x:0:0:root:/root:/bin/sh\n5000000000:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n";
  const entries = [{ name: "etc/passwd", data: passwd }];

  it.each(["4294967295", "4294967296", "5000000000", "18446744073709551616", "-1", "+0", "1000:4294967296"])(
    "%s is neither root nor a name (CVE-2024-40635, CVE-2026-46680, CVE-2026-30892)",
    async (user) => {
      const image = await imageWith(`user-${user.replaceAll(/\W/g, "x")}`, entries, user);
      await expect(create(image)).rejects.toThrow("is not an id");
    },
  );

  it("within 32 bits is that user", async () => {
    const image = await imageWith("user-large", entries, "2147483648:4294967294");
    expect(await (await (await create(image)).start()).sh("id -u; id -G")).toBe("2147483648\n4294967294");
  });
});

describe("groups", () => {
  it("have the primary one among them, and none that Strict leaves out (CVE-2022-2995, CVE-2023-25173)", async () => {
    const group = "staff:x:50:eve\nadmins:x:60:\n";
    const passwd = "eve:x:1000:1000::/:/bin/sh\n";
    const entries = [
      { name: "etc/passwd", data: passwd },
      { name: "etc/group", data: group },
      { name: "denied/", type: "5", mode: 0o705, gid: 1000 },
    ];
    const image = await imageWith("groups", entries);
    const wish = { runAsUsername: "eve", supplementalGroups: [70n] };
    const merged = await (await create(image, wish)).start();
    expect(await merged.sh("id -G; ls /denied 2>&1 || true")).toBe(
      "1000 50 70\nls: can't open '/denied': Permission denied",
    );
    expect(
      await (await (await create(image, { ...wish, supplementalGroupsPolicy: 1 })).start()).sh("id -G"),
    ).toBe("1000 70");
  });
});
