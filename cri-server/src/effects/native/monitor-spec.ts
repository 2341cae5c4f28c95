import type { IdMapping } from "../../model/namespaces.ts";
import type { PodMonitorSpec } from "../../ports/monitor.ts";
import { PayloadWriter } from "./frames.ts";
import { SpecFlag } from "./ops.gen.ts";

function ranges(to: PayloadWriter, mappings: readonly IdMapping[]): void {
  to.u32(mappings.length);
  for (const mapping of mappings) to.u32(mapping.containerId).u32(mapping.hostId).u32(mapping.length);
}

/** user.* belongs to the user namespace, which can't be left again: those keys come last (native/monitor/sysctl.c). */
function sysctls(to: PayloadWriter, spec: PodMonitorSpec): void {
  const entries = Object.entries(spec.sysctls);
  const ofUser = ([key]: readonly [string, string]) => /^user[./]/.test(key);
  const ordered = [...entries.filter((entry) => !ofUser(entry)), ...entries.filter(ofUser)];
  to.u32(ordered.length);
  for (const [key, value] of ordered) to.text(key).text(value);
}

/** The payload of SPAWN_MONITOR, as native/monitor/pod.c reads it. */
export function encodeMonitorSpec(spec: PodMonitorSpec): Buffer {
  const flags =
    (spec.network === "new" ? SpecFlag.NEW_NET : 0) |
    (spec.ipc === "new" ? SpecFlag.NEW_IPC : 0) |
    (spec.uts === "new" ? SpecFlag.NEW_UTS : 0) |
    (spec.pidInit ? SpecFlag.PID_INIT : 0) |
    (spec.userns === undefined ? 0 : SpecFlag.USERNS);
  const to = new PayloadWriter().u32(flags).text(spec.sandboxId).text(spec.podDir).text(spec.netnsPath);
  to.text(spec.hostname).text(spec.shmPath).u64(spec.shmBytes);
  if (spec.userns !== undefined) {
    ranges(to, spec.userns.uidMappings);
    ranges(to, spec.userns.gidMappings);
  }
  sysctls(to, spec);
  if (spec.pidInit) {
    const group = spec.initCgroup;
    to.u32(group === undefined ? 0 : group.version);
    to.texts(group?.mkdirs ?? []);
    to.u32(group?.writes.length ?? 0);
    for (const write of group?.writes ?? []) {
      to.text(write.path)
        .text(write.value)
        .u32(write.optional ? 1 : 0);
    }
    to.texts(group?.join ?? []);
  }
  return to.finish();
}
