import type { World } from "./world.ts";

// What the paths to and from a pod carry, beside a bridge made by hand in the same namespace, i.e. under the same rules.

/** So little at a time that both paths meet the same weather. */
const sliceMegabytes = 32;

/**
 * One connection by each path, and slices by both in turns. Sockets stay in the namespace in which they were made. Prints
 * for each slice: path, seconds of the clock, seconds of processor time of sender and receiver.
 */
const script = `
import ctypes, json, os, resource, socket, struct, sys, time
paths, slices, size = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True); home = os.open("/proc/self/ns/net", os.O_RDONLY)
def enter(name):
    fd = home if name == "" else os.open("/run/netns/" + name, os.O_RDONLY)
    if libc.setns(fd, 0x40000000) != 0: raise OSError(ctypes.get_errno(), name)
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
def order(): return ((turn, at) for turn in range(slices) for at in ((0, 1) if turn % 2 == 0 else (1, 0)))
listeners = []
for path in paths:
    enter(path["to"]); listeners.append(socket.create_server(("0.0.0.0", path["listen"])))
child = os.fork()
if child == 0:
    connections = []
    for path in paths:
        enter(path["from"]); connections.append(socket.create_connection((path["address"], path["port"])))
    block = bytes(1 << 20)
    for turn, at in order():
        start, before = time.time(), used()
        for _ in range(size): connections[at].sendall(block)
        (received,) = struct.unpack("d", connections[at].recv(8, socket.MSG_WAITALL))
        print(at, time.time() - start, used() - before + received)
else:
    connections = [listener.accept()[0] for listener in listeners]
    buffer = bytearray(1 << 20)
    for turn, at in order():
        before, left = used(), size << 20
        while left > 0: left -= connections[at].recv_into(buffer, min(left, 1 << 20))
        connections[at].sendall(struct.pack("d", used() - before))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
`;

interface Path {
  /** Namespaces; "" is the host. */
  readonly from: string;
  readonly to: string;
  readonly address: string;
  readonly port: number;
  readonly listen: number;
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.NaN;
}

type Report = (name: string, percent: number, bar: number | undefined) => void;

/**
 * What the first path carries, in percent of the second. Both ends share the machine's processors, so what a path carries
 * is what a second of processor time carries; unlike a second of the clock that holds on a machine that others use as well.
 */
async function compare(
  world: World,
  slices: number,
  name: string,
  paths: readonly [ours: Path, reference: Path],
): Promise<number> {
  const printed = await world.run("python3", "-c", script, JSON.stringify([paths, slices, sliceMegabytes]));
  const rows = printed
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number));
  const gigabits = (sliceMegabytes * 2 ** 20 * 8) / 1e9;
  const of = (path: number, column: number): readonly number[] =>
    rows.filter(([at]) => at === path).map((row) => gigabits / (row[column] ?? Number.NaN));
  const show = (path: number): string =>
    `${quantile(of(path, 1), 0.5).toFixed(1)} Gbit/s, ${quantile(of(path, 2), 0.5).toFixed(1)} in a second of processor time`;
  const reference = of(1, 2);
  const ratios = of(0, 2).map((rate, turn) => (100 * rate) / (reference[turn] ?? Number.NaN));
  const quarters = [0.25, 0.75].map((share) => quantile(ratios, share).toFixed(0)).join(" to ");
  console.log(`${name}: ${show(0)}; reference ${show(1)}; half of the slices ${quarters} %`);
  return quantile(ratios, 0.5);
}

/** In the pods' host, and in `bare`: a host of its own, without any rule and so without connection tracking. */
const byHand = `
ip netns add bare; ip -n bare link set lo up
for host in home bare; do
  [ $host = home ] && in="" || in="-n $host"
  ip $in link add brhand type bridge; ip $in addr add 10.98.0.1/24 dev brhand; ip $in link set brhand up
  for i in 2 3; do
    ip netns add $host$i; ip $in link add h$i type veth peer name eth0 netns $host$i
    ip -n $host$i addr add 10.98.0.$i/24 dev eth0; ip -n $host$i link set eth0 up; ip -n $host$i link set lo up
    ip $in link set h$i master brhand up
  done
done`;

interface Comparison {
  readonly name: string;
  /** The least percentage; undefined: only shown. */
  readonly bar?: number;
  readonly paths: readonly [ours: Path, reference: Path];
}

/** @param pod the address of the pod in the namespace pod0, whose port 80 is the host's 9000. */
function comparisons(pod: string): readonly Comparison[] {
  const [hand, gateway] = ["10.98.0.2", "10.66.0.1"];
  const path = (from: string, to: string, address: string, port: number, listen = port): Path => ({
    from,
    to,
    address,
    port,
    listen,
  });
  return [
    {
      name: "pod to pod, of a hand-made bridge's",
      bar: 97,
      paths: [path("pod1", "pod0", pod, 7000), path("home3", "home2", hand, 7000)],
    },
    {
      name: "pod to host, of a hand-made bridge's",
      bar: 97,
      paths: [path("pod0", "", gateway, 7001), path("home2", "", "10.98.0.1", 7002)],
    },
    {
      name: "host to pod, of a hand-made bridge's",
      bar: 97,
      paths: [path("", "pod0", pod, 7000), path("", "home2", hand, 7000)],
    },
    {
      name: "pod to pod, of a host's without rules",
      paths: [path("pod1", "pod0", pod, 7000), path("bare3", "bare2", hand, 7000)],
    },
    {
      name: "pod to host, of a host's without rules",
      paths: [path("pod0", "", gateway, 7001), path("bare2", "bare", "10.98.0.1", 7001)],
    },
    {
      name: "host port, of direct",
      bar: 95,
      paths: [path("", "pod0", gateway, 9000, 80), path("", "pod0", pod, 81)],
    },
  ];
}

/** Needs the namespaces pod0 and pod1. */
export async function measureThroughput(world: World, slices: number, report: Report): Promise<void> {
  await world.run("sh", "-ec", byHand);
  const config = world.config();
  const portMappings = [{ hostPort: 9000, containerPort: 80, protocol: "tcp" }];
  const add = async (netns: string, more: object): Promise<string> => {
    const { ips } = await world.must({ command: "ADD", id: netns, netns, config: { ...config, ...more } });
    return (ips as readonly { readonly address: string }[])[0]?.address.replace(/\/.*/, "") ?? "";
  };
  const pod = await add("pod0", { runtimeConfig: { portMappings } });
  await add("pod1", {});
  for (const { name, bar, paths } of comparisons(pod)) {
    report(name, await compare(world, slices, name, paths), bar);
  }
  for (const netns of ["pod0", "pod1"]) await world.must({ command: "DEL", id: netns, netns, config });
  const gone = "ip link del brhand; for i in bare home2 home3 bare2 bare3; do ip netns del $i; done";
  await world.run("sh", "-c", gone);
}
