import { describe, expect, it } from "vitest";
import { fragmentsOf, parseNetworkList } from "./conflist.ts";

const file = (text: string): { name: string; path: string; text: string } => ({
  name: "10-a.conflist",
  path: "/etc/cni/net.d/10-a.conflist",
  text,
});

describe("parseNetworkList", () => {
  it("wraps a single plugin in a list", () => {
    const list = parseNetworkList("a.conf", '{"cniVersion":"0.4.0","name":"n","type":"bridge","x":1}');
    expect(list).toMatchObject({ name: "n", cniVersion: "0.4.0" });
    expect(list.plugins.map((plugin) => plugin.type)).toEqual(["bridge"]);
    expect(parseNetworkList("cached", list.text).plugins).toEqual(list.plugins);
  });

  it("chooses the highest offered version that it speaks", () => {
    const text =
      '{"cniVersion":"0.4.0","cniVersions":["1.1.0","9.0.0","1.0.0"],"name":"n","plugins":[{"type":"a"}]}';
    expect(parseNetworkList("a", text).cniVersion).toBe("1.1.0");
  });

  it("appends fragments, and caches them with the list", () => {
    const text = '{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"a"}]}';
    expect(fragmentsOf(file(text))).toBe("n");
    const list = parseNetworkList("a", text, [file('{"type":"tuning"}')]);
    expect(list.plugins.map((plugin) => plugin.type)).toEqual(["a", "tuning"]);
    expect(parseNetworkList("cached", list.text).plugins).toHaveLength(2);
    expect(fragmentsOf(file(list.text))).toBeUndefined();
  });

  it("takes booleans as strings too", () => {
    const text = '{"name":"n","disableCheck":"true","disableGC":true,"plugins":[{"type":"a"}]}';
    expect(parseNetworkList("a", text)).toMatchObject({
      disableCheck: true,
      disableGC: true,
      cniVersion: "0.1.0",
    });
  });

  it.each([
    ["{", "not valid JSON"],
    ["[]", "not a JSON object"],
    ['{"plugins":[{"type":"a"}]}', "name is undefined"],
    ['{"name":"../x","plugins":[{"type":"a"}]}', "name is"],
    ['{"name":"n","plugins":[{"type":"../a"}]}', "plugins[0].type"],
    ['{"name":"n","plugins":[]}', "no plugins"],
    ['{"name":"n","plugins":{}}', "not an array"],
    ['{"name":"n","cniVersion":"7.0.0","plugins":[{"type":"a"}]}', "7.0.0"],
    ['{"name":"n","disableGC":"maybe","plugins":[{"type":"a"}]}', "disableGC"],
  ])("refuses %s", (text, why) => {
    expect(() => parseNetworkList("x.conflist", text)).toThrow(why);
    expect(() => parseNetworkList("x.conflist", text)).toThrow("x.conflist");
  });
});
