import { describe, expect, it } from "vitest";
import type { Container } from "../../model/container.ts";
import type { Sandbox } from "../../model/sandbox.ts";
import { Objects } from "../objects.ts";
import { findSubject } from "./find.ts";

const objects = new Objects();

function id(start: string): string {
  return start.padEnd(64, "0");
}

function pod(start: string, namespace: string, name: string, createdAt = 1n): void {
  // Only what identifies a pod matters here.
  const sandbox = { id: id(start), createdAt, config: { metadata: { namespace, name } } };
  objects.addPod(sandbox as unknown as Sandbox);
}

function container(start: string, podStart: string, name: string, createdAt = 1n): void {
  const entry = [...objects.pods()].find(({ sandbox }) => sandbox.id === id(podStart));
  if (entry === undefined) throw new Error(`no pod ${podStart}`);
  const made = { id: id(start), createdAt, config: { metadata: { name } } };
  objects.addContainer(made as unknown as Container, entry);
}

pod("aaaa1", "default", "web", 1n);
pod("aaaa2", "default", "web", 2n);
pod("bbbb1", "kube-system", "dns");
pod("bbbb2", "kube-system", "cafe");
container("cccc1", "aaaa2", "nginx", 1n);
container("cccc2", "aaaa2", "nginx", 2n);
container("dddd1", "bbbb1", "dns");
container("dddd2", "bbbb1", "sidecar");
container("dddd3", "bbbb2", "sidecar");

const found = (word: string): string => {
  const subject = findSubject(objects, word);
  return subject.kind === "pod" ? subject.pod.sandbox.id : subject.container.container.id;
};

describe("findSubject", () => {
  it.each([
    ["aaaa1", "aaaa1", "the start of an id"],
    [id("dddd2"), "dddd2", "a whole id"],
    ["default/web", "aaaa2", "a pod, of two attempts the newer"],
    ["nginx", "cccc2", "a container, of two attempts the newer"],
    ["web/nginx", "cccc2", "a pod's container"],
    ["kube-system/dns/sidecar", "dddd2", "a whole name"],
    ["dns/sidecar", "dddd2", "the end of a name"],
    ["cafe", "bbbb2", "a name of hexadecimal digits that starts no id"],
  ])("%s", (word, start, _what) => {
    expect(found(word)).toBe(id(start));
  });

  it.each([
    ["aaaa", /more than one: default\/web \(aaaa1.*\), default\/web \(aaaa2/],
    ["dns", /more than one: kube-system\/dns \(bbbb1.*kube-system\/dns\/dns \(dddd1/],
    ["sidecar", /more than one/],
    ["aaa", /no pod or container/],
    ["default/nginx/web", /no pod or container/],
    ["", /no pod or container/],
  ])("%j is refused", (word, message) => {
    expect(() => found(word)).toThrow(message);
  });
});
