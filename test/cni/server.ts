import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";

// A server of the plugin on its own, in whatever namespaces it was started: server.ts SOCKET RUN-DIRECTORY
const [socketPath, runDir] = process.argv.slice(2);
if (socketPath === undefined || runDir === undefined) throw new Error("server.ts SOCKET RUN-DIRECTORY");
const plugin = createPlugin({
  runDir,
  log: (level, message, fields) => console.error(level, message, fields),
});
await plugin.serve(socketPath);
console.log("ready");
process.on("SIGTERM", () => void plugin.close().then(() => process.exit(0)));
