import { describe, expect, it } from "vitest";
import { hostsWithout, parseHosts } from "./hosts-toml.ts";

describe("hosts.toml", () => {
  it("lists mirrors in their order, then the server", () => {
    const hosts = parseHosts(
      `server = "https://registry.k8s.io"
       [host."http://127.0.0.1:5000"]
         capabilities = ["pull", "resolve"]
       [host."mirror.example:8443"]
         skip_verify = true
         ca = "ca.crt"
         client = [["client.cert", "client.key"], "both.pem"]
         [host."mirror.example:8443".header]
           x-one = "1"
           x-two = ["a", "b"]`,
      "registry.k8s.io",
    );
    expect(hosts.map((host) => host.baseUrl)).toEqual([
      "http://127.0.0.1:5000/v2",
      "https://mirror.example:8443/v2",
      "https://registry.k8s.io/v2",
    ]);
    expect(hosts[0]?.capabilities).toEqual(["pull", "resolve"]);
    expect(hosts[1]).toMatchObject({
      capabilities: ["pull", "resolve", "push"],
      skipVerify: true,
      ca: ["ca.crt"],
      clients: [
        { cert: "client.cert", key: "client.key" },
        { cert: "both.pem", key: "both.pem" },
      ],
      headers: { "x-one": "1", "x-two": ["a", "b"] },
    });
  });

  it("keeps a path, with the API's version unless told that the path is all", () => {
    const hosts = parseHosts(
      `[host."https://m/a"]
       [host."https://m/b/v2/"]
       [host."https://m/c"]
         override_path = true`,
      "example.org",
    );
    expect(hosts.map((host) => host.baseUrl)).toEqual([
      "https://m/a/v2",
      "https://m/b/v2",
      "https://m/c",
      "https://example.org/v2",
    ]);
  });

  it("names the server once when it is a mirror as well", () => {
    expect(
      parseHosts(`server = "http://h:1"\n[host."http://h:1"]\ncapabilities = ["pull"]`, "x.y"),
    ).toHaveLength(1);
  });

  it.each([
    [`server = 1`, /server/],
    [`[host."https://a"]\ncapabilities = ["fly"]`, /capabilities.*fly/],
    [`[host."https://a"]\nca = 1`, /ca/],
    [`host = 1`, /host/],
    [`[host."https://a b"]`, /URL/],
    [`= nonsense`, /./],
  ])("refuses %j", (text, message) => {
    expect(() => parseHosts(text, "x.y")).toThrow(message);
  });

  it("knows where a registry is without a file", () => {
    const base = (registry: string): string | undefined => hostsWithout(registry)[0]?.baseUrl;
    expect(base("docker.io")).toBe("https://registry-1.docker.io/v2");
    expect(base("localhost:5000")).toBe("http://localhost:5000/v2");
    expect(base("127.0.0.1:5000")).toBe("http://127.0.0.1:5000/v2");
    expect(base("127.example.org")).toBe("https://127.example.org/v2");
  });
});
