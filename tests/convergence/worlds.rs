//! Random worlds: all manifests of a node, valid together, with references between them.
//!
//! What a manifest can never change (the storage of a disk, the sort of a network) follows from the name, and sizes grow
//! from one generation to the next, so that every world can follow every earlier one and nothing is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A secret value, which must never be seen anywhere.
pub const SECRET: &str = "xyzzy-Tr0ub4dor-secret";

/// The manifests of one generation.
#[derive(Clone)]
pub struct World(pub Vec<Value>);

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for manifest in &self.0 {
            write!(f, "\n  {manifest}")?;
        }
        Ok(())
    }
}

fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "reeve/v1", "kind": kind, "metadata": {"name": name}, "spec": prune(spec)})
}

/// Leaves out what was generated as nothing.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, prune(v))).collect())
        }
        other => other,
    }
}

fn maybe(strategy: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![2 => Just(Value::Null), 1 => strategy].boxed()
}

fn words(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    maybe(prop::sample::select(words).prop_map(|w| json!(w)))
}

fn flag() -> BoxedStrategy<Value> {
    maybe(any::<bool>().prop_map(|b| json!(b)))
}

fn strategy() -> BoxedStrategy<Value> {
    words(&["Always", "Always", "RerunOnFailure", "Manual", "Halted"])
}

/// A size that a later generation does not go below.
fn size(generation: u64) -> BoxedStrategy<String> {
    (1..3_u64).prop_map(move |n| format!("{}Mi", 64 * (n + generation))).boxed()
}

/// The storage of a disk or volume of that name.
fn storage(name: &str) -> &'static str {
    if name.bytes().map(u32::from).sum::<u32>() % 2 == 0 { "s1" } else { "s2" }
}

fn disk(name: &'static str, generation: u64) -> BoxedStrategy<Value> {
    let rest = (words(&["virtio", "scsi", "sata"]), words(&["none", "writeback"]), flag(), flag());
    (size(generation), any::<bool>(), rest, maybe((1..5_u32).prop_map(|n| json!({"iops": n * 100}))))
        .prop_map(move |(size, image, (bus, cache, discard, backup), limits)| {
            let image = image.then_some("disk");
            json!({
                "storage": storage(name), "size": size, "image": image, "bus": bus, "cache": cache, "discard": discard,
                "backup": backup, "limits": limits
            })
        })
        .boxed()
}

fn disks(number: usize, generation: u64) -> BoxedStrategy<Value> {
    let some = |value: BoxedStrategy<Value>| maybe(value);
    let volume = Just(json!({"volume": format!("data-{number}"), "bus": "virtio"})).boxed();
    let drive =
        prop_oneof![Just(json!({"media": "cdrom"})), Just(json!({"media": "cdrom", "image": "medium"}))].boxed();
    let own = (disk("root", generation), some(disk("more", generation)));
    (own, some(volume), some(drive))
        .prop_map(|((root, more), data, cd)| json!({"root": root, "more": more, "data": data, "cd": cd}))
        .boxed()
}

fn vm_nic() -> BoxedStrategy<Value> {
    let network = prop::sample::select(&["lan", "alone", "host", "made"][..]);
    (network, words(&["virtio", "e1000"]), flag(), words(&["10Mbps", "1Gbps"]))
        .prop_map(
            |(network, model, link, rate)| json!({"network": network, "model": model, "linkUp": link, "rate": rate}),
        )
        .boxed()
}

fn cloud_init() -> BoxedStrategy<Value> {
    let secret = json!({"secretRef": {"name": "login", "key": "password"}});
    let first = (words(&["ops", "admin"]), maybe(Just(secret)))
        .prop_map(|(user, password)| json!({"user": user, "password": password}));
    let reconcile = words(&["one", "two"]).prop_map(|hostname| json!({"hostname": hostname}));
    let all = (first, reconcile, words(&["2"]))
        .prop_map(|(first, kept, instance)| json!({"firstBoot": first, "reconcile": kept, "instance": instance}));
    // Making a seed starts a program, which takes its time.
    prop_oneof![9 => Just(Value::Null), 1 => all].boxed()
}

fn vm(number: usize, generation: u64) -> BoxedStrategy<Value> {
    let cpu = (1..4_u32, 0..3_u32, maybe((1..400_u32).prop_map(|n| json!(n))), maybe(Just(json!(["0-1"])))).prop_map(
        |(cores, spare, weight, pinning)| {
            let most = (spare > 0).then_some(cores + spare);
            json!({"cores": cores, "maxCores": most, "weight": weight, "pinning": pinning})
        },
    );
    let memory =
        (1..4_u32, flag()).prop_map(|(n, balloon)| json!({"size": format!("{}Mi", n * 64), "balloon": balloon}));
    let devices = (disks(number, generation), vm_nic(), maybe(vm_nic()), cloud_init());
    let looks = (
        words(&["q35", "pc"]),
        words(&["text", "two\nlines", "quo\"tes ' $(id) é"]),
        maybe(Just(json!(["b", "a"]))),
        flag(),
        maybe(Just(json!({"type": "uefi"}))),
        maybe(Just(json!({"order": 3}))),
    );
    (strategy(), cpu, memory, devices, looks)
        .prop_map(move |(run, cpu, memory, (disks, eth0, eth1, init), (machine, text, tags, serial, firmware, startup))| {
            let spec = json!({
                "runStrategy": run, "cpu": cpu, "memory": memory, "disks": disks, "nics": prune(json!({"eth0": eth0, "eth1": eth1})),
                "cloudInit": init, "machine": machine, "description": text, "tags": tags, "serial": serial,
                "firmware": firmware, "startup": startup
            });
            manifest("VirtualMachine", &format!("vm-{number}"), spec)
        })
        .boxed()
}

fn ct(number: usize, generation: u64) -> BoxedStrategy<Value> {
    let network = prop::sample::select(&["lan", "alone", "host", "made"][..]);
    // No two guests have one address.
    let nic = (network, any::<u8>(), flag(), words(&["10Mbps"])).prop_map(move |(network, host, link, rate)| {
        json!({"network": network, "addresses": [format!("10.9.{number}.{host}/24")], "linkUp": link, "rate": rate})
    });
    let mounts = (
        maybe(size(generation).prop_map(|size| json!({"path": "/srv", "storage": "s1", "size": size}))),
        maybe(Just(json!({"path": "/vol", "volume": format!("files-{number}")}))),
        maybe(Just(json!({"path": "/host", "hostPath": "/usr", "readOnly": true}))),
    );
    let cpu = (maybe((1..3_u32).prop_map(|n| json!(n))), maybe((1..300_u32).prop_map(|n| json!(n))))
        .prop_map(|(cores, weight)| json!({"cores": cores, "weight": weight}));
    let looks = (
        words(&["text", "quo\"tes ' $(id)"]),
        words(&["a", "b.example.org"]),
        maybe(Just(json!({"A": "b"}))),
        maybe(Just(json!({"nesting": true}))),
        maybe(Just(json!(["10.9.0.1"]))),
    );
    (strategy(), size(generation), mounts, (nic.boxed(), cpu), looks)
        .prop_map(move |(run, size, (srv, vol, host), (nic, cpu), (text, hostname, env, features, servers))| {
            let spec = json!({
                "runStrategy": run, "rootfs": {"storage": "s2", "size": size, "image": "tree"},
                "mounts": {"srv": srv, "vol": vol, "host": host}, "nics": {"eth0": nic}, "cpu": cpu,
                "memory": {"size": "64Mi"}, "description": text, "hostname": hostname, "env": env, "features": features,
                "nameservers": servers
            });
            manifest("Container", &format!("ct-{number}"), spec)
        })
        .boxed()
}

fn networks() -> BoxedStrategy<Vec<Value>> {
    let lan = (maybe(Just(json!({"range": ["10.40.0.100", "10.40.0.200"]}))), maybe(Just(json!(1400))));
    (lan, maybe(Just(json!(9000))), words(&["lan.example.org"]))
        .prop_map(|((dhcp, mtu), made_mtu, domain)| {
            vec![
                manifest(
                    "Network",
                    "lan",
                    json!({"type": "nat", "cidr": "10.40.0.1/24", "dhcp": dhcp, "mtu": mtu, "domain": domain}),
                ),
                manifest("Network", "alone", json!({"type": "isolated", "cidr": "10.41.0.1/24"})),
                manifest("Network", "host", json!({"type": "bridge", "bridge": "br7"})),
                manifest(
                    "Network",
                    "made",
                    json!({"type": "bridge", "bridge": "rvbr0", "create": true, "mtu": made_mtu}),
                ),
            ]
        })
        .boxed()
}

fn volumes(number: usize, generation: u64) -> BoxedStrategy<Vec<Value>> {
    (size(generation), size(generation))
        .prop_map(move |(disk, files)| {
            let (data, tree) = (format!("data-{number}"), format!("files-{number}"));
            vec![
                manifest("Volume", &data, json!({"storage": storage(&data), "size": disk, "format": "raw"})),
                manifest(
                    "Volume",
                    &tree,
                    json!({"storage": storage(&tree), "size": files, "format": "raw", "content": "rootdir"}),
                ),
            ]
        })
        .boxed()
}

fn images() -> BoxedStrategy<Vec<Value>> {
    (1..3_u8)
        .prop_map(|disk| {
            vec![
                manifest(
                    "Image",
                    "disk",
                    json!({"type": "disk", "format": "raw", "source": {"file": format!("[DIR]/disk-{disk}.raw")}}),
                ),
                manifest("Image", "tree", json!({"type": "rootfs", "source": {"file": "[DIR]/tree.tar"}})),
                manifest("Image", "medium", json!({"type": "iso", "source": {"file": "[DIR]/medium.iso"}})),
            ]
        })
        .boxed()
}

/// The machines and containers of a world, each there or not.
fn guests(generation: u64) -> BoxedStrategy<Vec<Value>> {
    let three = |n| prop::option::weighted(0.6, vm(n, generation));
    let two = |n| prop::option::weighted(0.6, ct(n, generation));
    (three(0), three(1), two(0), two(1)).prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect()).boxed()
}

/// A world of the first or a later generation; `[DIR]` and `[ID]` stand for the node's folder and its own number.
pub fn world(generation: u64) -> BoxedStrategy<World> {
    let content = words(&["none"]);
    let base = (networks(), images(), volumes(0, generation), volumes(1, generation), content);
    (base, guests(generation))
        .prop_map(|((networks, images, first, second, _), guests)| {
            let storage = |name: &str| {
                let options = json!({"id": format!("[ID]-{name}")});
                manifest("Storage", name, json!({"driver": "fake", "options": options}))
            };
            let node = manifest("Node", "n1", json!({"description": "where it runs"}));
            let all = [vec![storage("s1"), storage("s2"), node], networks, images, first, second, guests];
            World(all.concat())
        })
        .boxed()
}
