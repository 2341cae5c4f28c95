import { expect, it } from "vitest";
import { parseNetDev } from "./host-usage.ts";

it("reads each interface's counters", () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:      10       1    0    0    0     0          0         0       10       1    0    0    0     0       0          0
  eth0:18446744073709551615 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
a:b: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0
`;
  const interfaces = parseNetDev(text);
  expect(interfaces.map(({ name }) => name)).toEqual(["lo", "eth0", "a:b"]);
  expect(interfaces[1]).toEqual({
    name: "eth0",
    receivedBytes: 18446744073709551615n,
    receivedPackets: 2n,
    receiveErrors: 3n,
    receiveDropped: 4n,
    sentBytes: 5n,
    sentPackets: 6n,
    sendErrors: 7n,
    sendDropped: 8n,
  });
});
