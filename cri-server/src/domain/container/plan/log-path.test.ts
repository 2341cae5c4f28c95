import { expect, it } from "vitest";
import { confinedLogPath } from "./log-path.ts";

it.each([
  ["/var/log/pods/ns_pod_uid", "name/0.log", "/var/log/pods//ns_pod_uid/name/0.log"],
  ["/var//log/./pods/ns_pod_uid///", "name//0.log", "/var/log/pods//ns_pod_uid/name/0.log"],
  ["/logs", "0.log", "//logs/0.log"],
  ["/", "0.log", "//0.log"],
  ["", "0.log", ""],
  ["/logs", "", ""],
])("a log below %s at %s is %s to the monitor", (directory, path, expected) => {
  expect(confinedLogPath(directory, path)).toBe(expected);
});
