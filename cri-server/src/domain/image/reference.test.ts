import { describe, expect, it } from "vitest";
import { canonicalName, parseReference } from "./reference.ts";

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;

describe("image references", () => {
  it.each([
    ["busybox", "docker.io/library/busybox:latest"],
    ["busybox:1.36", "docker.io/library/busybox:1.36"],
    ["docker.io/busybox", "docker.io/library/busybox:latest"],
    ["index.docker.io/library/busybox", "docker.io/library/busybox:latest"],
    ["prom/node-exporter:v1", "docker.io/prom/node-exporter:v1"],
    ["localhost/x", "localhost/x:latest"],
    ["localhost:5000/x", "localhost:5000/x:latest"],
    ["localhost:5000/a/b:tag", "localhost:5000/a/b:tag"],
    ["registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"],
    ["[::1]:5000/x", "[::1]:5000/x:latest"],
    ["Registry/x", "Registry/x:latest"],
    [`busybox@${digest}`, `docker.io/library/busybox@${digest}`],
    [`busybox:1.36@${digest}`, `docker.io/library/busybox@${digest}`],
    ["a.b/c__d/e--f/g.h:T_1.2-3", "a.b/c__d/e--f/g.h:T_1.2-3"],
  ])("reads %s as %s", (text, canonical) => {
    expect(canonicalName(parseReference(text))).toBe(canonical);
  });

  it.each([
    "",
    ":tag",
    "Busybox",
    "a//b",
    "a/b/",
    "/a",
    "a b",
    "a:",
    "a:-x",
    `a:${"t".repeat(129)}`,
    "a@sha256:123",
    `a@md5:${"0".repeat(32)}`,
    "a___b",
    "a..b",
    "-a/b",
    "http://host/x",
    "0123456789abcdef".repeat(4),
    `host.io/${"a".repeat(250)}`,
  ])("refuses %j", (text) => {
    expect(() => parseReference(text)).toThrow(/image reference/);
  });
});
