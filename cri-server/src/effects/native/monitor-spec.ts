import type { IdMapping } from "../../model/namespaces.ts";
import type { PodMonitorSpec } from "../../ports/monitor.ts";
import { encodeCgroup } from "./encode-plan.ts";
import { PayloadWriter } from "./frames.ts";
import { SpecFlag } from "./ops.gen.ts";

/** As /proc/PID/uid_map wants it. */
function idMap(mappings: readonly IdMapping[]): string {
  return mappings.map(({ containerId, hostId, length }) => `${containerId} ${hostId} ${length}\n`).join("");
}

/** "net.ipv4.ip_forward" and "net/ipv4/conf/eth0.1/rp_filter" are both in use: the first separator tells which it is. */
function sysctlPath(key: string): string {
  const dots = /[./]/.exec(key)?.[0] === ".";
  return dots ? key.replace(/[./]/g, (separator) => (separator === "." ? "/" : ".")) : key;
}

/** user.* belongs to the user namespace, which can't be left again: those keys come last (native/monitor/sysctl.c). */
function sysctls(to: PayloadWriter, spec: PodMonitorSpec): void {
  const entries = Object.entries(spec.sysctls).map(([key, value]) => {
    const path = sysctlPath(key);
    return { key, path, value, ofUser: spec.userns !== undefined && path.startsWith("user/") };
  });
  const ordered = [...entries.filter(({ ofUser }) => !ofUser), ...entries.filter(({ ofUser }) => ofUser)];
  to.list(ordered, ({ key, path, value, ofUser }) => to.text(key).text(path).text(value).flag(ofUser));
}

/** The payload of SPAWN_MONITOR, as native/monitor/pod.c reads it. */
export function encodeMonitorSpec(spec: PodMonitorSpec): Buffer {
  const flags =
    (spec.network === "new" ? SpecFlag.NEW_NET : 0) |
    (spec.ipc === "new" ? SpecFlag.NEW_IPC : 0) |
    (spec.uts === "new" ? SpecFlag.NEW_UTS : 0) |
    (spec.pidInit ? SpecFlag.PID_INIT : 0) |
    (spec.userns === undefined ? 0 : SpecFlag.USERNS);
  // What the pod's root has to own.
  const owner = spec.userns?.uidMappings[0]?.hostId ?? 0;
  const to = new PayloadWriter().u32(flags).text(spec.sandboxId).text(spec.podDir).text(spec.netnsPath);
  to.text(spec.shmPath).text(spec.hostname);
  to.text(`mode=1777,size=${spec.shmBytes},uid=${owner},gid=${owner}`);
  if (spec.userns !== undefined) {
    to.text(idMap(spec.userns.uidMappings)).text(idMap(spec.userns.gidMappings));
  }
  sysctls(to, spec);
  if (spec.pidInit) {
    to.flag(spec.initCgroup !== undefined);
    if (spec.initCgroup !== undefined) encodeCgroup(to, spec.initCgroup);
  }
  return to.finish();
}
