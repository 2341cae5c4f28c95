import { readFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxLayer, groupsLayer, httpdLayer, nginxLayer, Packages } from "./images-content.ts";
import { type Layer, LayerBuilder } from "./images-layer.ts";
import { type ImageRecipe, Pusher, type RunConfig } from "./images-push.ts";

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const shell: RunConfig = { Env: [path], Cmd: ["sh"] };

const nginx: RunConfig = {
  Env: [path],
  Cmd: ["nginx", "-g", "daemon off;"],
  StopSignal: "SIGTERM",
  ExposedPorts: { "80/tcp": {} },
};
const httpd: RunConfig = {
  Env: [path.replace("PATH=", "PATH=/usr/local/apache2/bin:")],
  Cmd: ["httpd", "-DFOREGROUND", "-f", "/usr/local/apache2/conf/httpd.conf"],
  WorkingDir: "/usr/local/apache2",
  StopSignal: "SIGWINCH",
  ExposedPorts: { "80/tcp": {} },
};

/** A layer that makes an image different from every other. */
function marker(name: string): Layer {
  return new LayerBuilder().file(name, "").build();
}

/** Repositories, tags and contents are those that the conformance suite has compiled in. */
function recipes(packages: Packages, programs: string): readonly ImageRecipe[] {
  const box = busyboxLayer(packages);
  const program = (name: string): Buffer => readFileSync(join(programs, name));
  const pause = new LayerBuilder().program("pause", program("pause")).build();
  const setuid = new LayerBuilder().file("effective-uid", program("effective-uid"), { mode: 0o4755 }).build();
  return [
    ...["3.9", "3.10"].map((tag) => ({
      repository: "pause",
      tags: [tag],
      layers: [pause],
      config: { Env: [path], Entrypoint: ["/pause"], User: "65535:65535", WorkingDir: "/", Labels: { tag } },
      oci: tag === "3.10",
    })),
    { repository: "e2e-test-images/busybox", tags: ["1.29-2"], layers: [box], config: shell },
    {
      repository: "e2e-test-images/nginx",
      tags: ["1.14-2"],
      layers: [box, nginxLayer(packages, 80)],
      config: nginx,
    },
    {
      repository: "e2e-test-images/httpd",
      tags: ["2.4.39-4"],
      layers: [box, httpdLayer(packages)],
      config: httpd,
    },
    {
      repository: "e2e-test-images/nonewprivs",
      tags: ["1.3"],
      layers: [box, setuid],
      config: { Env: [path], Entrypoint: ["/effective-uid"] },
    },
    { repository: "stress", tags: ["1"], layers: [box, stressLayer(packages)], config: shell },
    ...staging(box),
    {
      repository: "k8s-staging-cri-tools/hostnet-nginx-amd64",
      tags: ["latest"],
      layers: [box, nginxLayer(packages, 12003)],
      config: nginx,
      single: true,
    },
    ...["1", "1-glibc", "1-musl", "1-uclibc", "1.35.0-glibc"].map((tag) => ({
      repository: "docker/library/busybox",
      tags: [tag],
      layers: [box],
      config: { ...shell, Labels: { tag } },
      oci: true,
    })),
  ];
}

/** A program that keeps processors busy. */
function stressLayer(packages: Packages): Layer {
  const layer = new LayerBuilder();
  packages.install(layer, "usr/bin/stress", "usr/bin/stress", new Set());
  return layer.build();
}

function staging(box: Layer): readonly ImageRecipe[] {
  const named = (name: string, rest: Partial<ImageRecipe>): ImageRecipe => ({
    repository: `k8s-staging-cri-tools/${name}`,
    tags: ["latest"],
    layers: [box],
    config: shell,
    ...rest,
  });
  return [
    ...["test-image-1", "test-image-2", "test-image-3", "test-image-latest", "test-image-digest"].map(
      (name) => named(name, { layers: [box, marker(name)], oci: name === "test-image-digest" }),
    ),
    ...["test", "all"].map((tag) => named("test-image-tag", { tags: [tag], layers: [box, marker(tag)] })),
    named("test-image-tags", { tags: ["1", "2", "3"], layers: [box, marker("same-image")] }),
    ...[
      ["uid", "1002"],
      ["username", "www-data"],
      ["uid-group", "1003:1004"],
      ["username-group", "www-data:1004"],
    ].map(([name, User = ""]) => named(`test-image-user-${name}`, { config: { ...shell, User } })),
    named("test-image-predefined-group", {
      layers: [box, groupsLayer()],
      config: { ...shell, User: "1000" },
    }),
  ];
}

const [root = "", programs = "", registry = ""] = process.argv.slice(2);
const pusher = new Pusher(registry);
const decoy = new LayerBuilder().file("other-platform", "This is the image of another platform.\n").build();
let count = 0;
for (const recipe of recipes(new Packages(root), programs)) {
  const digest = await pusher.push(recipe, decoy);
  for (const tag of recipe.tags) console.log(`${recipe.repository}:${tag} ${digest}`);
  count += recipe.tags.length;
}
console.error(`images: ${count} tags are at ${registry}`);
