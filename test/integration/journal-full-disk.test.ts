import { mkdtemp, rm, rmdir, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Journal } from "../../cri-server/src/effects/store/journal.ts";
import { run } from "../lib/command.ts";

let directory = "";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "berth-full-"));
  await run("mount", ["-t", "tmpfs", "-o", "size=4m", "berth-full", directory]);
});

afterAll(async () => {
  await run("umount", [directory]);
  await rmdir(directory);
});

it("a full disk refuses new records, but never a removal", async () => {
  const journal = new Journal(join(directory, "journal"), (key) => Buffer.from(`${key}=`));
  await journal.load(() => undefined);
  const value = (key: string): Buffer => Buffer.from(`${key}=${"x".repeat(4000)}`);
  for (let index = 0; index < 20; index += 1) await journal.put(`k${index}`, value(`k${index}`));
  const { bavail, bsize } = await statfs(directory);
  const filler = join(directory, "filler");
  await writeFile(filler, Buffer.alloc(bavail * bsize));
  let refused = 0;
  for (let index = 0; index < 400; index += 1) {
    await journal.put("more", value("more")).catch((error: NodeJS.ErrnoException) => {
      expect(error.code).toBe("ENOSPC");
      refused += 1;
    });
  }
  expect(refused).toBeGreaterThan(0);
  const mixed = journal.put("more", value("more"));
  const removals = Array.from({ length: 20 }, (_, index) => journal.delete(`k${index}`));
  await expect(mixed).rejects.toMatchObject({ code: "ENOSPC" });
  await Promise.all(removals);
  await rm(filler);
  await journal.put("after", value("after"));
  await journal.close();
  const again = new Journal(join(directory, "journal"), (key) => Buffer.from(`${key}=`));
  const { entries } = await again.load((payload) => {
    const [key = "", text] = payload.toString().split("=");
    return text === "" ? { key, payload: undefined } : { key, payload };
  });
  expect([...entries.keys()].toSorted()).toEqual(["after", "more"]);
  await again.close();
});
