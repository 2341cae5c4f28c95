import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { eventually } from "../lib/eventually.ts";
import type { World } from "./world.ts";

/** Debian's package as hack/setup has unpacked it; its Python modules are installed. */
const files = join(process.env.BERTH_CACHE ?? join(homedir(), ".cache/berth"), "firewalld");

/** A system bus on which root may do anything and nobody else exists. */
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
  <include>${files}/usr/share/dbus-1/system.d/FirewallD.conf</include>
</busconfig>`;

/** firewalld in a world, with Debian's defaults, a bus of its own and a configuration of its own. Ends with the world. */
export class Firewalld {
  readonly #world: World;
  #daemon: ChildProcess | undefined;

  private constructor(world: World) {
    this.#world = world;
  }

  static async start(world: World): Promise<Firewalld> {
    if (!existsSync(files)) throw new Error(`no firewalld in ${files}: hack/setup run`);
    const firewalld = new Firewalld(world);
    const bus = join(world.directory, "bus.conf");
    await writeFile(bus, busConfig);
    await world.run("mkdir", "-p", "/run/dbus");
    await world.run("cp", "-a", join(files, "etc/firewalld"), firewalld.#config);
    firewalld.#quietly("dbus-daemon", "--nofork", "--nopidfile", `--config-file=${bus}`);
    await eventually(() => world.run("test", "-S", "/run/dbus/system_bus_socket"));
    await firewalld.#startDaemon();
    return firewalld;
  }

  get #config(): string {
    return join(this.#world.directory, "firewalld");
  }

  get #log(): string {
    return join(this.#world.directory, "firewalld.log");
  }

  /** Both programs complain about what a world has no room for: file limits, ipset. */
  #quietly(...command: readonly string[]): ChildProcess {
    return this.#world.start("sh", "-c", 'exec "$@" >>"$0" 2>&1', this.#log, ...command);
  }

  async #startDaemon(): Promise<void> {
    this.#daemon = this.#quietly(
      join(files, "usr/sbin/firewalld"),
      "--nofork",
      "--nopid",
      "--log-target=console",
      `--system-config=${this.#config}`,
      `--default-config=${join(files, "usr/lib/firewalld")}`,
    );
    try {
      await eventually(() => this.command("--state"), 20_000);
    } catch (cause) {
      throw new Error(`firewalld does not run: ${await readFile(this.#log, "utf8")}`, { cause });
    }
  }

  /** firewall-cmd; it has to succeed. */
  command(...args: readonly string[]): Promise<string> {
    return this.#world.run(join(files, "usr/bin/firewall-cmd"), ...args);
  }

  /** A line of shell that calls firewall-cmd by its name. */
  shell(line: string): Promise<string> {
    return this.#world.run("sh", "-ec", `PATH="$0:$PATH"; ${line}`, join(files, "usr/bin"));
  }

  /** From the next start on. */
  async useBackend(name: "iptables" | "nftables"): Promise<void> {
    const file = join(this.#config, "firewalld.conf");
    const settings = await readFile(file, "utf8");
    await writeFile(file, settings.replace(/^FirewallBackend=.*/m, `FirewallBackend=${name}`));
  }

  async restart(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon?.kill("SIGTERM") === true) await once(daemon, "exit");
    await this.#startDaemon();
  }
}
