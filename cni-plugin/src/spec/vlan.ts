import { CniError, codes } from "./errors.ts";
import type { Fields } from "./json.ts";

const lastVlan = 4094;

/** From `first` to `last`, both included. */
export interface VlanRange {
  readonly first: number;
  readonly last: number;
}

/** The VLANs of a pod's bridge port: one without tags, or several with them. */
export interface VlanConfig {
  readonly access: number | undefined;
  readonly trunk: readonly VlanRange[];
  /** The port also stays in the VLAN that the bridge puts every new port into. */
  readonly keepDefault: boolean;
}

function parseTrunk(fields: Fields): readonly VlanRange[] | undefined {
  return fields.objects("vlanTrunk")?.flatMap((entry) => {
    const [first, last, id] = ["minID", "maxID", "id"].map((key) => entry.integer(key, 1, lastVlan));
    if ((first === undefined) !== (last === undefined)) {
      throw new CniError(
        codes.invalidConfig,
        `${entry.name("minID")} and ${entry.name("maxID")} need each other`,
      );
    }
    if (first !== undefined && last !== undefined && first > last) {
      throw new CniError(
        codes.invalidConfig,
        `${entry.name("minID")} ${first} is above ${entry.name("maxID")} ${last}`,
      );
    }
    return [
      ...(first === undefined || last === undefined ? [] : [{ first, last }]),
      ...(id === undefined ? [] : [{ first: id, last: id }]),
    ];
  });
}

/** The keys are the reference plugin's. An empty trunk has the bridge look at VLANs, and puts no port into one. */
export function parseVlan(fields: Fields): VlanConfig | undefined {
  const vlan = fields.integer("vlan", 0, lastVlan) ?? 0;
  const trunk = parseTrunk(fields);
  if (vlan === 0 && trunk === undefined) return undefined;
  if (vlan !== 0 && trunk !== undefined && trunk.length > 0) {
    throw new CniError(codes.invalidConfig, "vlan and vlanTrunk exclude each other");
  }
  return {
    access: vlan === 0 ? undefined : vlan,
    trunk: trunk ?? [],
    keepDefault: fields.boolean("preserveDefaultVlan") ?? true,
  };
}
