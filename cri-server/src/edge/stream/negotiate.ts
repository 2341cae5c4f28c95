import type { IncomingMessage } from "node:http";
import { portForwardProtocol, portForwardTunnel } from "./port-forward-session.ts";
import { type RemoteCommandProtocol, remoteCommandProtocols } from "./spdy-session.ts";
import { type ChannelForwardProtocol, channelForwardProtocols } from "./ws-port-forward.ts";
import { type WebSocketProtocol, webSocketProtocols } from "./ws-session.ts";

/** What an exec or attach client's upgrade request comes to. */
export type SessionAgreement =
  | { readonly upgrade: "spdy"; readonly protocol: RemoteCommandProtocol }
  | { readonly upgrade: "websocket"; readonly protocol: WebSocketProtocol }
  | Refusal;

/** The same for port-forward; `channels` is the older protocol, without SPDY inside. */
export type ForwardAgreement =
  | { readonly upgrade: "spdy" | "tunnel"; readonly protocol: string }
  | { readonly upgrade: "channels"; readonly protocol: ChannelForwardProtocol }
  | Refusal;

/** Why the client gets no upgrade. */
export interface Refusal {
  readonly upgrade: "refused";
  readonly status: number;
  readonly message: string;
  readonly accepted: readonly string[];
}

/** Values of a header that may be given several times, each with several values. */
function valuesOf(request: IncomingMessage, name: string): readonly string[] {
  return (request.headersDistinct[name] ?? []).flatMap((line) =>
    line
      .split(",")
      .map((value) => value.trim())
      .filter((value) => value !== ""),
  );
}

function common<T extends string>(offered: readonly string[], ours: readonly T[]): T | undefined {
  for (const name of offered) {
    const match = ours.find((own) => own === name);
    if (match !== undefined) {
      return match;
    }
  }
  return undefined;
}

function refuse(status: number, message: string, accepted: readonly string[] = []): Refusal {
  return { upgrade: "refused", status, message, accepted };
}

/** Which of the two the client wants, and the sub-protocols that it offers for it. */
function upgradeOf(
  request: IncomingMessage,
): { readonly name: "spdy" | "websocket"; readonly offered: readonly string[] } | Refusal {
  const upgrades = valuesOf(request, "upgrade").map((name) => name.toLowerCase());
  if (upgrades.includes("websocket")) {
    return { name: "websocket", offered: valuesOf(request, "sec-websocket-protocol") };
  }
  if (!upgrades.includes("spdy/3.1")) {
    return refuse(400, `unable to upgrade: ${upgrades.join(", ")} is neither SPDY/3.1 nor websocket`);
  }
  const offered = valuesOf(request, "x-stream-protocol-version");
  return offered.length === 0
    ? refuse(400, "unable to upgrade: the header X-Stream-Protocol-Version is missing")
    : { name: "spdy", offered };
}

function refuseAll(offered: readonly string[], accepted: readonly string[]): Refusal {
  return refuse(403, `unable to upgrade: none of the protocols ${offered.join(", ")} is known`, accepted);
}

/** Chooses by the client's own order, as Kubernetes' servers do. */
export function negotiateSession(request: IncomingMessage): SessionAgreement {
  const wanted = upgradeOf(request);
  if ("upgrade" in wanted) {
    return wanted;
  }
  if (wanted.name === "spdy") {
    const protocol = common(wanted.offered, remoteCommandProtocols);
    return protocol === undefined
      ? refuseAll(wanted.offered, remoteCommandProtocols)
      : { upgrade: "spdy", protocol };
  }
  // A client that names none speaks the first one (cri-streaming, remotecommand/websocket.go).
  const offered = wanted.offered.length === 0 ? ["channel.k8s.io"] : wanted.offered;
  const protocol = common(offered, webSocketProtocols);
  return protocol === undefined
    ? refuseAll(wanted.offered, webSocketProtocols)
    : { upgrade: "websocket", protocol };
}

/** As negotiateSession. */
export function negotiateForward(request: IncomingMessage): ForwardAgreement {
  const wanted = upgradeOf(request);
  if ("upgrade" in wanted) {
    return wanted;
  }
  const { offered } = wanted;
  if (wanted.name === "spdy") {
    const protocol = common(offered, [portForwardProtocol]);
    return protocol === undefined ? refuseAll(offered, [portForwardProtocol]) : { upgrade: "spdy", protocol };
  }
  const tunnel = common(offered, [portForwardTunnel]);
  if (tunnel !== undefined) {
    return { upgrade: "tunnel", protocol: tunnel };
  }
  const protocol = common(offered, channelForwardProtocols);
  return protocol === undefined
    ? refuseAll(offered, [portForwardTunnel, ...channelForwardProtocols])
    : { upgrade: "channels", protocol };
}
