# shellcheck shell=bash disable=SC2154
# Sourced by hack/cluster: everything that its components read, as files below DIR (certificates, kubeconfigs, configuration).

cert() { # FILE SUBJECT [SAN] [CA]
  local file=$DIR/pki/$1 ca=${4:-ca}
  [ -s "$file.crt" ] && return 0
  openssl ecparam -genkey -name prime256v1 -noout -out "$file.key" 2>/dev/null
  openssl req -new -key "$file.key" -subj "$2" -out "$file.csr" 2>/dev/null
  printf 'extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n%s\n' "${3:+subjectAltName=$3}" >"$file.ext"
  openssl x509 -req -in "$file.csr" -CA "$DIR/pki/$ca.crt" -CAkey "$DIR/pki/$ca.key" -CAcreateserial -days 365 -extfile "$file.ext" -out "$file.crt" 2>/dev/null
  rm -f "$file.csr" "$file.ext"
}

kubeconfig() { # NAME
  cat >"$DIR/conf/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$NODE_IP:6443", certificate-authority: $DIR/pki/ca.crt}}]
users: [{name: u, user: {client-certificate: $DIR/pki/$1.crt, client-key: $DIR/pki/$1.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
YAML
}

pki() {
  local ca
  for ca in ca front-proxy-ca; do
    [ -s "$DIR/pki/$ca.crt" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$ca" \
      -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$DIR/pki/$ca.key" -out "$DIR/pki/$ca.crt" 2>/dev/null
  done
  [ -s "$DIR/pki/sa.key" ] || { openssl genrsa -out "$DIR/pki/sa.key" 2048 2>/dev/null && openssl rsa -in "$DIR/pki/sa.key" -pubout -out "$DIR/pki/sa.pub" 2>/dev/null; }
  cert apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:10.96.0.1,IP:$NODE_IP,IP:127.0.0.1"
  cert admin /O=system:masters/CN=admin
  cert apiserver-kubelet-client /O=system:masters/CN=apiserver-kubelet-client
  cert front-proxy-client /CN=front-proxy-client "" front-proxy-ca
  cert kube-controller-manager /CN=system:kube-controller-manager
  cert kube-scheduler /CN=system:kube-scheduler
  cert kube-proxy /CN=system:kube-proxy
  cert kubelet "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$NODE_IP,IP:127.0.0.1"
  local name
  for name in admin kube-controller-manager kube-scheduler kube-proxy kubelet; do kubeconfig $name; done
}

configs() {
  # What Berth's own plugin translates addresses with.
  local nat=true
  has_nft || nat=false
  cat >"$DIR/conf/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$DIR/berth/berth.sock
$(v2 || echo "failCgroupV1: false")
cgroupsPerQOS: true
cgroupRoot: $PODS
enforceNodeAllocatable: [pods]
staticPodPath: $DIR/manifests
$(if standalone; then
  printf '%s\n' "authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}" "authorization: {mode: AlwaysAllow}" "readOnlyPort: 10255"
else
  printf '%s\n' "authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $DIR/pki/ca.crt}, webhook: {enabled: true}}" "authorization: {mode: Webhook}"
fi)
tlsCertFile: $DIR/pki/kubelet.crt
tlsPrivateKeyFile: $DIR/pki/kubelet.key
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
address: 0.0.0.0
failSwapOn: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: true
containerLogMaxSize: 256Ki
containerLogMaxFiles: 4
volumePluginDir: $DIR/volume-plugins
allowedUnsafeSysctls: ["kernel.msg*", "net.core.somaxconn"]
featureGates: {${FEATURE_GATES:-}}
YAML
  cat >"$DIR/conf/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${PROXY_MODE:-$($nat && echo nftables || echo iptables)}
clusterCIDR: 10.67.0.0/16
hostnameOverride: $NODE
clientConnection: {kubeconfig: $DIR/conf/kube-proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
  mkdir -p "$DIR"/berth/cni.d "$DIR"/berth/certs.d/{registry,private}.cluster.test "$DIR/registry" "$DIR/kubelet/seccomp"
  printf '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}' >"$DIR/kubelet/seccomp/no-mkdir.json"
  cat >"$DIR/berth/cni.d/10-berth.conflist" <<JSON
{"cniVersion": "1.1.0", "name": "cluster", "plugins": [{"type": "berth", "bridge": "cluster0", "isGateway": true, "ipMasq": $nat,
  "hairpinMode": true, "ipam": {"type": "berth", "dataDir": "$DIR/berth/ipam", "ranges": [[{"subnet": "10.67.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]},
  "capabilities": {"portMappings": $nat, "bandwidth": true}}]}
JSON
  local name port auth
  while read -r name port auth; do
    printf 'server = "http://127.0.0.1:%s"\n[host."http://127.0.0.1:%s"]\n  capabilities = ["pull", "resolve"]\n' "$port" "$port" \
      >"$DIR/berth/certs.d/$name.cluster.test/hosts.toml"
    printf '%s\n' "version: 0.1" "log: {level: warn, accesslog: {disabled: true}}" \
      "storage: {filesystem: {rootdirectory: $DIR/registry}, delete: {enabled: true}}" \
      "http: {addr: \"127.0.0.1:$port\"}" "$auth" >"$DIR/conf/$name.yml"
  done <<LIST
registry 5000
private 5001 auth: {htpasswd: {realm: cluster, path: $DIR/conf/htpasswd}}
LIST
  perl -e 'print "berth:", crypt("open sesame", q($2b$05$abcdefghijklmnopqrstuu)), "\n"' >"$DIR/conf/htpasswd"
}

