import type { World } from "./world.ts";

const server = `
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(self.client_address[0].removeprefix("::ffff:").encode())
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
server = Server(("::", int(sys.argv[1])), Handler)
print("listening")
server.serve_forever()
`;

/** Starts a web server, in a pod or on the host, that tells its clients which address it sees them by. */
export async function serveWhoami(world: World, port: number, netns?: string): Promise<void> {
  const inside = netns === undefined ? [] : ["ip", "netns", "exec", netns];
  const child = world.start(...inside, "python3", "-uc", server, String(port));
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the web server ended with ${code}`)));
  });
}

/** Which address the server sees its client by, from the host or from a pod; "" when it does not answer. */
export async function askWhoami(world: World, target: string, from?: string): Promise<string> {
  const command = ["curl", "-gsS", "-m", "2", `http://${target}/`];
  const { stdout } = await (from === undefined ? world.outcomeOf(...command) : world.inPod(from, ...command));
  return stdout;
}
