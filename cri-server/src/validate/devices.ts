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

const cdiName =
  /^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?\/[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

/**
 * Fully qualified CDI names, vendor/class=device, each once: some kubelets name a device twice. Annotations
 * `cdi.k8s.io/<plugin>` with names separated by commas are how device plugins did it before CRI had the field.
 */
export function toCdiDevices(
  messages: readonly CDIDevice[],
  annotations: Readonly<Record<string, string>>,
): readonly string[] {
  const annotated = Object.entries(annotations)
    .filter(([key]) => key.startsWith("cdi.k8s.io/"))
    .flatMap(([key, value]) => value.split(",").map((name) => ({ name, field: `annotations ${key}` })));
  const all = [...messages.map(({ name }) => ({ name, field: "CDI_devices.name" })), ...annotated];
  const bad = all.find(({ name }) => !cdiName.test(name));
  if (bad !== undefined) {
    throw invalid(bad.field, bad.name, "not of the form vendor/class=device");
  }
  return [...new Set(all.map(({ name }) => name))];
}
