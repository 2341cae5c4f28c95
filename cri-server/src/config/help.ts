import type { Option } from "./options.ts";
import { options } from "./options.ts";

/** The text of `berthd --help`. */
export function helpText(): string {
  const lines = [
    "berthd: a Kubernetes container runtime (CRI v1)",
    "",
    "usage: berthd [serve] [--config FILE] [flags]   serve the CRI until SIGTERM; pods live on",
    "       berthd check [--config FILE] [flags]     say what this host lacks, and what follows",
    "       berthd --version",
    "",
    "Flags (each is also a key of the TOML file; a flag wins):",
    "  --config FILE",
    "      Configuration file. Default: /etc/berth/berth.toml, if there is one.",
  ];
  for (const option of options) {
    lines.push(`  ${option.flag} ${placeholder(option)}`);
    lines.push(`      ${option.help} Default: ${option.fallback}.`);
  }
  return `${lines.join("\n")}\n`;
}

function placeholder(option: Option): string {
  if (option.oneOf !== undefined) {
    return option.oneOf.join("|");
  }
  switch (option.type) {
    case "path":
    case "paths":
      return "PATH";
    case "count":
      return "N";
    case "string":
    case "strings":
      return "TEXT";
  }
}

/** docs/configuration.md, whole; a test compares it with the file. */
export function configurationDocument(): string {
  const lines = [
    "# Configuration",
    "",
    "`berthd` reads `/etc/berth/berth.toml` (or `--config FILE`), a TOML file. Each option is also a flag, and the flag wins.",
    "An unknown key, a value of the wrong type and a relative path are errors: the server does not start.",
    "",
  ];
  let table: string | undefined;
  for (const option of options) {
    if (option.table !== table) {
      table = option.table;
      lines.push(
        table === "" ? "## Top level" : `## [${table}]`,
        "",
        "| key | flag | default | meaning |",
        "| --- | --- | --- | --- |",
      );
    }
    const values =
      option.oneOf === undefined ? "" : ` One of ${option.oneOf.map((value) => `\`${value}\``).join(", ")}.`;
    lines.push(`| \`${option.key}\` | \`${option.flag}\` | ${option.fallback} | ${option.help}${values} |`);
    if (options[options.indexOf(option) + 1]?.table !== table) {
      lines.push("");
    }
  }
  lines.push(...environmentLines);
  return `${lines.join("\n")}\n`;
}

const environmentLines = [
  "## Environment",
  "",
  "| variable | meaning |",
  "| --- | --- |",
  "| `NOTIFY_SOCKET` | Set by systemd for `Type=notify`; `READY=1` and `STOPPING=1` are sent there. |",
  "| `BERTH_FAILPOINTS` | For tests: makes named steps fail, wait or crash. Never set it on a node. |",
];
