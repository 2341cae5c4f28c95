import { createPlugin } from "../../cni-plugin/src/resident/plugin.ts";

// One call inside a process, as the server makes it: in-process.ts RUN-DIRECTORY, environment and input as JSON on stdin.
const chunks: Buffer[] = [];
for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
const { env, input } = JSON.parse(Buffer.concat(chunks).toString()) as {
  readonly env: Readonly<Record<string, string>>;
  readonly input: string;
};
const plugin = createPlugin({ runDir: process.argv[2] ?? "" });
const { exitCode, stdout } = await plugin.run(env, Buffer.from(input));
await plugin.close();
process.stdout.write(stdout);
process.exitCode = exitCode;
