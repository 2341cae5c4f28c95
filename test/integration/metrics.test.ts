import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Berthd } from "../lib/berthd.ts";
import { eventually } from "../lib/eventually.ts";
import { FaultyRegistry } from "../lib/faulty-registry.ts";
import { podConfig, pull, TestPod } from "../lib/pod.ts";
import { registryAddress, testImage } from "../lib/registry.ts";
import { ask, parseExposition, type Samples } from "../lib/scrape.ts";

const port = 19465;

async function scrape(): Promise<Samples> {
  const { status, type, body } = await ask({ host: "127.0.0.1", port, path: "/metrics" });
  expect(status).toBe(200);
  expect(type).toBe("text/plain; version=0.0.4; charset=utf-8");
  return parseExposition(body);
}

/** The value, 0 when there is none yet. */
const at = (samples: Samples, key: string): number => samples.get(key) ?? 0;

describe("metrics over TCP", () => {
  let server: Berthd;
  beforeAll(async () => {
    server = await Berthd.start({ flags: ["--metrics-address", `127.0.0.1:${port}`] });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  it("counts pulls, what they bring, and what fails", async () => {
    const before = await scrape();
    await pull(server);
    await expect(server.image.pullImage({ image: { image: testImage("none:1") } })).rejects.toThrow();
    const after = await scrape();
    expect(at(after, 'berth_pull_seconds_count{outcome="ok"}')).toBe(1);
    expect(at(after, 'berth_pull_seconds_count{outcome="image-not-found"}')).toBe(1);
    expect(at(before, "berth_pull_received_bytes_total")).toBe(0);
    // busybox's one layer, give or take how well it was compressed.
    expect(at(after, "berth_pull_received_bytes_total")).toBeGreaterThan(500_000);
    expect(at(after, "berth_pulls_in_flight")).toBe(0);
    expect(at(after, "berth_images")).toBe(1);
    expect(at(after, "berth_image_store_bytes")).toBeGreaterThan(
      at(after, "berth_pull_received_bytes_total"),
    );
  });

  it("counts what a faulty registry makes it ask again", async () => {
    await using faulty = await FaultyRegistry.start(registryAddress);
    const folder = join(server.dir, "certs.d", faulty.address);
    mkdirSync(folder);
    writeFileSync(join(folder, "hosts.toml"), `server = "http://${faulty.address}"\n`);
    const left = new Set(["manifests", "blobs"]);
    faulty.choose = (path) => {
      const kind = [...left].find((word) => path.includes(`/${word}/`));
      return kind !== undefined && left.delete(kind) ? "503" : "none";
    };
    const before = at(await scrape(), "berth_pull_retries_total");
    // No other image of these tests has its layer.
    await server.image.pullImage({ image: { image: `${faulty.address}/e2e-test-images/nginx:1.14-2` } });
    expect(at(await scrape(), "berth_pull_retries_total") - before).toBe(2);
  });

  it("follows a pod through its life", async () => {
    const idle = await scrape();
    expect(at(idle, 'berth_pods{state="ready"}')).toBe(0);
    const pod = await TestPod.run(server);
    const container = await pod.start();
    await container.exec("/bin/true");
    const running = await scrape();
    expect(at(running, 'berth_pods{state="ready"}')).toBe(1);
    expect(at(running, 'berth_containers{state="running"}')).toBe(1);
    expect(at(running, "berth_monitors")).toBe(1);
    expect(at(running, 'berth_rpc_seconds_count{code="OK",method="RunPodSandbox"}')).toBe(1);
    expect(at(running, 'berth_rpc_seconds_count{code="OK",method="ExecSync"}')).toBe(1);
    for (const step of ["prepare", "monitor", "network", "record"]) {
      expect(at(running, `berth_start_step_seconds_count{step="${step}",what="pod"}`), step).toBe(1);
    }
    for (const step of ["lease", "plan", "intent", "launch", "start"]) {
      expect(at(running, `berth_start_step_seconds_count{step="${step}",what="container"}`), step).toBe(1);
    }
    expect(at(running, 'berth_cni_call_seconds_count{command="ADD",outcome="ok"}')).toBe(1);
    expect(at(running, 'berth_journal_bytes{part="live"}')).toBeGreaterThan(
      at(idle, 'berth_journal_bytes{part="live"}'),
    );
    await pod.remove();
    await eventually(async () => {
      const gone = await scrape();
      expect(at(gone, "berth_monitors")).toBe(0);
      expect(at(gone, 'berth_pods{state="removing"}')).toBe(0);
      expect(at(gone, 'berth_background_tasks{state="running"}')).toBe(0);
      expect(at(gone, 'berth_cni_call_seconds_count{command="DEL",outcome="ok"}')).toBeGreaterThan(0);
    });
  });

  it("tells a client's mistakes from our faults, and has figures of the process", async () => {
    await expect(server.runtime.podSandboxStatus({ podSandboxId: "nobody" })).rejects.toThrow();
    const samples = await scrape();
    expect(at(samples, 'berth_rpc_seconds_count{code="NOT_FOUND",method="PodSandboxStatus"}')).toBe(1);
    expect(at(samples, "process_resident_memory_bytes")).toBeGreaterThan(10 * 1024 * 1024);
    expect(at(samples, "process_open_fds")).toBeGreaterThan(5);
    expect(at(samples, "process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(Math.abs(at(samples, "process_start_time_seconds") - Date.now() / 1000)).toBeLessThan(300);
    expect(at(samples, "berth_event_loop_busy_seconds_total")).toBeGreaterThan(0);
    for (const quantile of ["0.5", "0.9", "0.99", "1"]) {
      expect(samples.get(`berth_event_loop_delay_seconds{quantile="${quantile}"}`)).toBeLessThan(10);
    }
  });

  it("has as many series after twenty pods as after one", async () => {
    const cycle = async (): Promise<void> => {
      const pod = await TestPod.run(server);
      await pod.start();
      await pod.remove();
    };
    await cycle();
    await eventually(async () => expect(at(await scrape(), "berth_monitors")).toBe(0));
    const few = [...(await scrape()).keys()];
    for (let round = 0; round < 20; round++) await cycle();
    await eventually(async () => expect(at(await scrape(), "berth_monitors")).toBe(0));
    expect([...(await scrape()).keys()]).toEqual(few);
  });

  it("answers nothing else", async () => {
    expect((await ask({ host: "127.0.0.1", port, path: "/" })).status).toBe(404);
    expect((await ask({ host: "127.0.0.1", port, path: "/metrics", method: "POST" })).status).toBe(405);
    const head = await ask({ host: "127.0.0.1", port, path: "/metrics", method: "HEAD" });
    expect(head).toMatchObject({ status: 200, body: "" });
  });
});

describe("metrics over a socket", () => {
  it("shows what can't be taken back: a failing step, the pod it leaves, and work that is tried again", async () => {
    await using server = await Berthd.start({
      flags: ["--metrics-address", "/run/berth-metrics.sock"],
      env: { BERTH_FAILPOINTS: "sandbox.run.record=1*error;undo.step=1*error;sandbox.stop.detach=error" },
    });
    const read = async (): Promise<Samples> =>
      parseExposition((await ask({ socketPath: "/run/berth-metrics.sock", path: "/metrics" })).body);
    expect(statSync("/run/berth-metrics.sock").mode & 0o777).toBe(0o660);
    await expect(server.runtime.runPodSandbox({ config: podConfig(server) })).rejects.toThrow();
    const broken = await read();
    expect(at(broken, 'berth_rollback_step_failures_total{what="pod"}')).toBe(1);
    expect(at(broken, 'berth_pods{state="unknown"}')).toBe(1);
    const pod = await TestPod.run(server);
    await pod.stop();
    await eventually(async () => {
      const stuck = await read();
      expect(at(stuck, 'berth_background_tasks{state="failing"}')).toBe(1);
      expect(at(stuck, "berth_background_oldest_failure_seconds")).toBeGreaterThan(0);
    });
    await server.stop();
    expect(existsSync("/run/berth-metrics.sock")).toBe(false);
    await server.again({ flags: ["--metrics-address", "/run/berth-metrics.sock"] });
    await eventually(async () => {
      const mended = await read();
      expect(at(mended, 'berth_background_tasks{state="failing"}')).toBe(0);
      expect(at(mended, 'berth_pods{state="stopping"}')).toBe(0);
    });
  });

  it("is replaced when a killed server left it", async () => {
    await using server = await Berthd.start();
    const path = join(server.dir, "m.sock");
    await server.stop();
    await server.again({ flags: ["--metrics-address", path] });
    await server.stop("SIGKILL");
    expect(existsSync(path)).toBe(true);
    await server.again();
    expect((await ask({ socketPath: path, path: "/metrics" })).status).toBe(200);
  });
});
