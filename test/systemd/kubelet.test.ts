import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  globSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ContainerState } from "../../proto/gen/api.ts";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { busybox } from "../lib/pod.ts";

const kubelet = join(process.env.BERTH_CACHE ?? "/root/.cache/berth", "kubernetes/kubelet");
const root = "/sys/fs/cgroup";
const burstable = `${root}/kubepods.slice/kubepods-burstable.slice`;

const manifest = `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: one
      image: ${busybox}
      command: [sleep, "86400"]
      resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
    - name: two
      image: ${busybox}
      command: [sleep, "86400"]
      resources: {limits: {cpu: 300m, memory: 32Mi}}
`;

const guaranteed = `
apiVersion: v1
kind: Pod
metadata: {name: kept}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: ${busybox}
      command: [sleep, "86400"]
      resources: {limits: {cpu: 100m, memory: 16Mi}}
`;

const tolerated = [
  // Before its first look at the runtime.
  /Skipping pod synchronization.*pleg has yet to be successful/,
  // User-mode Linux has no cpuset.
  /cpuset\.cpus: no such file/,
  // A label that only CRI-O's storage has.
  /no imagefs label for configured runtime/,
  // It gave up its own question, or looks for what it has just removed.
  /Version from runtime service failed.*Canceled/,
  /ContainerStatus from runtime service failed.*code = NotFound/,
];

/** hack/systemd makes the one so, hack/cluster builds the other. */
describe.skipIf(!existsSync("/run/systemd/system") || !existsSync(kubelet))("a stock kubelet", () => {
  let server: Berthd;
  let child: ChildProcess;
  let dir: string;

  beforeAll(async () => {
    server = await Berthd.start();
    dir = join(server.dir, "node");
    for (const name of ["manifests", "logs", "lib"]) mkdirSync(join(dir, name), { recursive: true });
    const config = `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://${server.socket}
staticPodPath: ${dir}/manifests
podLogsDir: ${dir}/logs
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
fileCheckFrequency: 1s
failSwapOn: false
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
memoryThrottlingFactor: 0.9
memoryReservationPolicy: TieredReservation
`;
    writeFileSync(join(dir, "kubelet.yaml"), config);
    // It writes to fixed places, which may be a real machine's; and user-mode Linux tells no clock rate, which it wants.
    const script = `
mount -t tmpfs tmpfs /var/log && mount -t tmpfs tmpfs /var/lib
sed 's/^bogomips/cpu MHz\\t\\t: 1000.000\\n&/' /proc/cpuinfo >${dir}/cpuinfo && mount --bind ${dir}/cpuinfo /proc/cpuinfo
exec ${kubelet} --config ${dir}/kubelet.yaml --root-dir ${dir}/lib --cert-dir ${dir}/pki --hostname-override node --v=2`;
    const log = openSync(join(dir, "kubelet.log"), "a");
    child = spawn("unshare", ["--mount", "sh", "-c", script], { stdio: ["ignore", log, log] });
  });

  afterAll(async () => {
    child.kill("SIGKILL");
    await server[Symbol.asyncDispose]();
  });

  const log = () => readFileSync(join(dir, "kubelet.log"), "utf8");
  const running = async () => {
    const { containers } = await server.runtime.listContainers({});
    return containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING);
  };
  const podSlices = () => readdirSync(burstable).filter((name) => name.endsWith(".slice"));

  it("takes the driver from the runtime and runs its pods in its slices", async () => {
    writeFileSync(join(dir, "manifests/web.yaml"), manifest);
    await eventually(async () => {
      if ((await running()).length !== 2) throw new Error(log().split("\n").slice(-20).join("\n"));
    }, 120_000);
    expect(log()).toContain('cgroupDriver="systemd"');
    const [slice] = podSlices();
    expect(slice).toMatch(/^kubepods-burstable-pod[0-9a-f_]+\.slice$/);
    // The kubelet's own limit for the pod, which is the sum, and ours for the container.
    expect(readFileSync(`${burstable}/${slice}/memory.max`, "utf8").trim()).toBe(String(96 << 20));
    const [scope] = readdirSync(`${burstable}/${slice}`).filter((name) => name.endsWith(".scope"));
    const memory = (await running()).map(({ id }) =>
      ["max", "high", "low"].map((name) =>
        readFileSync(`${burstable}/${slice}/${scope}/${id}/memory.${name}`, "utf8").trim(),
      ),
    );
    // MemoryQoS: throttled from the request and nine tenths of what lies above it, in whole pages; kept up to the request.
    const throttled = Math.floor((32 + 0.9 * 32) * 256) * 4096;
    expect(memory.toSorted(([a], [b]) => Number(a) - Number(b))).toEqual([
      [String(32 << 20), "max", String(32 << 20)],
      [String(64 << 20), String(throttled), String(32 << 20)],
    ]);
  }, 150_000);

  it("keeps the memory of a Guaranteed pod", async () => {
    writeFileSync(join(dir, "manifests/kept.yaml"), guaranteed);
    await eventually(async () => {
      if ((await running()).length !== 3) throw new Error(log().split("\n").slice(-20).join("\n"));
    }, 120_000);
    const [file = ""] = globSync(`${root}/kubepods.slice/kubepods-pod*.slice/*.scope/[0-9a-f]*/memory.min`);
    expect(readFileSync(file, "utf8").trim()).toBe(String(16 << 20));
    rmSync(join(dir, "manifests/kept.yaml"));
  }, 150_000);

  it("finds nothing wrong with the runtime, and takes pod and slice away", async () => {
    rmSync(join(dir, "manifests/web.yaml"));
    await eventually(async () => {
      expect(await running()).toEqual([]);
      expect((await server.runtime.listPodSandbox({})).items).toEqual([]);
      expect(podSlices()).toEqual([]);
    }, 120_000);
    const complaints = log()
      .split("\n")
      .filter((line) => line.startsWith("E") && /runtime|rpc error|cgroup/i.test(line))
      .filter((line) => !tolerated.some((excuse) => excuse.test(line)));
    expect(complaints).toEqual([]);
  }, 150_000);
});
