import type { Held } from "../kernel/gate.ts";
import { refusal } from "../link/channel.ts";
import type { Host } from "../link/host.ts";
import { decodeAttributes, flags, nested, text } from "../link/wire.ts";
import { compare, counter, loadMeta, verdict } from "./expressions.ts";
import {
  absent,
  attributesAt,
  batchBegin,
  batchEnd,
  commentAttribute,
  isPart,
  messageOf,
  parseComment,
} from "./messages.ts";

// Docker, ufw and hand-made firewalls of iptables drop what is forwarded unless a rule accepts it. An accept in a table
// of ours does not help: what any table drops is dropped. So the accept goes where the drop is.
const families = { ip: 2, ip6: 10 } as const;
const table = "filter";
const chain = "FORWARD";
const NF_DROP = 0;

function mark(bridge: string): string {
  return `berth: pods of ${bridge}`;
}

/** The chain is there and drops by its policy. */
async function drops(host: Host, family: number): Promise<boolean> {
  const [reply] = await host.filter.request([
    messageOf(family, "getChain", 0, text(1, table), text(3, chain)),
  ]);
  const part = reply?.parts.find((header) => isPart(header.type, "newChain"));
  if (part === undefined) return false;
  return decodeAttributes(part.body, attributesAt).get(5)?.readUInt32BE() === NF_DROP;
}

async function isAccepted(host: Host, family: number, bridge: string): Promise<boolean> {
  const message = messageOf(family, "getRule", 0, text(1, table), text(2, chain));
  const rules = await host.filter.dump(`list rules of chain ${chain}`, message, absent);
  return (rules ?? []).some((part) => {
    const attributes = decodeAttributes(part.body, attributesAt);
    return isPart(part.type, "newRule") && parseComment(attributes.get(7)) === mark(bridge);
  });
}

async function insert(host: Host, family: number, bridge: string): Promise<void> {
  // As iptables writes a name, so that it can read the rule.
  const name = Buffer.from(`${bridge}\0`);
  const rules = (["oifname", "iifname"] as const).map((direction) =>
    messageOf(
      family,
      "newRule",
      flags.create,
      text(1, table),
      text(2, chain),
      nested(4, loadMeta(direction), compare("equal", name), counter(), verdict("accept")),
      commentAttribute(7, mark(bridge)),
    ),
  );
  const reply = await host.filter.transaction(batchBegin, rules, batchEnd);
  if (reply.errno !== 0) throw refusal(`accept ${bridge} in chain ${chain}`, reply);
}

/** Has pods' packets forwarded where iptables' own chain drops by default; once per bridge. */
export async function acceptForwarding(host: Host, bridge: string, lock: () => Promise<Held>): Promise<void> {
  for (const family of Object.values(families)) {
    if (!(await drops(host, family))) continue;
    const held = await lock();
    try {
      if (!(await isAccepted(host, family, bridge))) await insert(host, family, bridge);
    } finally {
      await held.release();
    }
  }
}
