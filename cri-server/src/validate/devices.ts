import type { CDIDevice, Device } from "../../../proto/gen/api.ts";
import { BerthError } from "../errors/berth-error.ts";
import type { DeviceRequest } from "../model/container.ts";
import { absolutePath, invalid } from "./check.ts";

/** ContainerConfig.devices, each checked. */
export function toDevices(messages: readonly Device[]): readonly DeviceRequest[] {
  return messages.map((message, index) => toDevice(message, `devices[${index}]`));
}

function toDevice(message: Device, field: string): DeviceRequest {
  const { containerPath, hostPath, permissions } = message;
  const complaint =
    absolutePath(`${field}.container_path`, containerPath) ?? absolutePath(`${field}.host_path`, hostPath);
  if (complaint !== undefined) {
    throw new BerthError("invalid-argument", complaint);
  }
  const letters = new Set(permissions);
  if (!/^[rwm]{1,3}$/.test(permissions) || letters.size !== permissions.length) {
    throw invalid(`${field}.permissions`, permissions, "not one to three of r, w, m");
  }
  return { containerPath, hostPath, permissions };
}

/** Fully qualified CDI names: vendor/class=device. */
export function toCdiDevices(messages: readonly CDIDevice[]): readonly string[] {
  const names = messages.map(({ name }) => name);
  const bad = names.find((name) => !/^[A-Za-z0-9._-]+\/[A-Za-z0-9._-]+=[A-Za-z0-9._:-]+$/.test(name));
  if (bad !== undefined) {
    throw invalid("CDI_devices.name", bad, "not of the form vendor/class=device");
  }
  return [...new Set(names)];
}
