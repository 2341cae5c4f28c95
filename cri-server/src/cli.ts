import { AdminClient, AdminFailure } from "./cli/admin-client.ts";
import { explainHelp, runExplain } from "./cli/explain.ts";
import { fsckHelp, runFsck } from "./cli/fsck.ts";
import { imageHelp, runImage, UsageError } from "./cli/image.ts";
import { berthVersion } from "./config/version.ts";

/** EX_USAGE of sysexits. */
const usageError = 64;

const help = `berth [--socket PATH] COMMAND

Speaks with a running berthd. --socket is its admin.sock, in its state directory; default: $BERTH_ADMIN_SOCKET, else
/run/berth/admin.sock.

${imageHelp}
${explainHelp}
${fsckHelp}
berth version
berth help
`;

async function main(words: readonly string[]): Promise<number> {
  const given = words[0] === "--socket";
  const socket = given ? words[1] : (process.env.BERTH_ADMIN_SOCKET ?? "/run/berth/admin.sock");
  const [command, ...rest] = given ? words.slice(2) : words;
  if (socket === undefined) {
    throw new UsageError("--socket needs a path");
  }
  switch (command) {
    case "image":
      return await runImage(new AdminClient(socket), rest);
    case "explain":
      return await runExplain(new AdminClient(socket), rest);
    case "fsck":
      return await runFsck(new AdminClient(socket), rest);
    case "version":
    case "--version":
      process.stdout.write(`berth ${berthVersion}\n`);
      return 0;
    case "help":
    case "--help":
    case "-h":
      process.stdout.write(help);
      return 0;
    default:
      throw new UsageError(command === undefined ? "a command is missing" : `unknown command ${command}`);
  }
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`berth: ${message}\n`);
    if (error instanceof UsageError) {
      process.stderr.write(`\n${help}`);
    }
    process.exitCode = error instanceof UsageError ? usageError : error instanceof AdminFailure ? 1 : 70;
  },
);
