import { describe, expect, it } from "vitest";
import { parseEnv, requireArgs } from "./env.ts";

const full = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "abc",
  CNI_NETNS: "/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/a:/b",
  CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.0.0.7",
};

describe("parseEnv", () => {
  it("reads a runtime's environment", () => {
    const call = parseEnv(full);
    expect(call).toMatchObject({
      command: "ADD",
      containerId: "abc",
      path: ["/a", "/b"],
      netnsOverride: false,
    });
    expect(call.args.get("IP")).toBe("10.0.0.7");
  });

  it("names all that is missing at once", () => {
    expect(() => parseEnv({ CNI_COMMAND: "ADD" })).toThrow(
      "ADD needs CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH",
    );
  });

  it("lets DEL go without a namespace, GC without a container, VERSION without anything", () => {
    expect(parseEnv({ ...full, CNI_COMMAND: "DEL", CNI_NETNS: "" }).netns).toBe("");
    expect(parseEnv({ CNI_COMMAND: "GC", CNI_PATH: "/a" }).command).toBe("GC");
    expect(parseEnv({ CNI_COMMAND: "VERSION" }).command).toBe("VERSION");
  });

  it.each([
    [{ CNI_COMMAND: "add" }, 'CNI_COMMAND "add" is none of'],
    [{ CNI_CONTAINERID: "-x" }, 'CNI_CONTAINERID "-x"'],
    [{ CNI_CONTAINERID: "a/b" }, 'CNI_CONTAINERID "a/b"'],
    [{ CNI_IFNAME: "a234567890123456" }, "longer than 15 bytes"],
    [{ CNI_IFNAME: ".." }, 'CNI_IFNAME ".."'],
    [{ CNI_IFNAME: "a b" }, 'CNI_IFNAME "a b"'],
    [{ CNI_IFNAME: "a:b" }, 'CNI_IFNAME "a:b"'],
  ])("refuses %j", (change, message) => {
    expect(() => parseEnv({ ...full, ...change })).toThrow(message);
  });
});

describe("requireArgs", () => {
  it("refuses an argument without a value", () => {
    expect(() => requireArgs("IgnoreUnknown=1;IP")).toThrow('CNI_ARGS has "IP"');
    requireArgs("IgnoreUnknown=1;;IP=");
  });
});
