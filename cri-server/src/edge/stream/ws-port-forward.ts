import type { WebSocket } from "ws";
import { forward } from "../../domain/stream/forward.ts";
import type { PortForwardDeps } from "./port-forward-session.ts";
import { WebSocketChannels } from "./ws-channels.ts";

/** The older protocol of port-forward over WebSocket, which clients in other languages than Go still speak. */
export const channelForwardProtocols = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] as const;
export type ChannelForwardProtocol = (typeof channelForwardProtocols)[number];

/**
 * One connection to each of the ports, which are those of the PortForward request: channel 2n is the n-th's data, 2n+1
 * its errors. Each begins with the port in 16 bits, lowest first. There is no half-close.
 */
export async function serveChannelForward(
  socket: WebSocket,
  protocol: ChannelForwardProtocol,
  ports: readonly number[],
  deps: PortForwardDeps,
  onActivity: () => void,
): Promise<void> {
  const base64 = protocol === "v4.base64.channel.k8s.io";
  const channels = new WebSocketChannels(socket, { base64, closeSignal: false, onActivity });
  const { closed } = channels;
  const work = ports.map(async (port, index) => {
    const [data, error] = [2 * index, 2 * index + 1];
    const incoming = channels.reader(data);
    const outgoing = channels.writer(data);
    // The client can't end its direction, so that the pod's end is the connection's.
    outgoing.once("finish", () => incoming.push(null));
    const name = Buffer.alloc(2);
    name.writeUInt16LE(port);
    channels.send(data, name);
    channels.send(error, name);
    try {
      await forward({ port, incoming, outgoing, closed }, deps.dialer, deps.netnsPath);
    } catch (cause) {
      deps.log.info({ err: cause, port }, "port-forward connection failed");
      const reason = cause instanceof Error ? cause.message : String(cause);
      channels.send(error, Buffer.from(`error forwarding port ${port}: ${reason}`));
    }
  });
  await Promise.race([Promise.all(work), closed]);
  await channels.finish();
}
