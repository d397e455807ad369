//! Any spec survives the way into LXC's configuration and back, on hosts with either version of control groups.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::{Mark, Name, Size, Uid};
use crate::drivers::container::lxc::cgroup::Layout;
use crate::drivers::container::lxc::host::{Ids, Paths, Range};
use crate::drivers::container::{Backing, Intent, Place};
use crate::kinds::container::{Arch, CtCpu, CtMemory, CtNic, Device, Features, Mount, MountOption, Rootfs};

fn host(v1: bool) -> Host {
    let range = Range { first: 100_000, count: 65_536 };
    Host {
        paths: Paths::below("/var/lib/lxc"),
        layout: if v1 { Layout::v1_only() } else { Layout::v2_only() },
        ids: Ok(Ids { users: range, groups: range }),
        cpus: (0..8).collect(),
    }
}

fn names() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9-]{0,10}[a-z0-9]".prop_map(|text| Name::new(&text).unwrap())
}

/// One line of any text that is no control character.
fn line() -> impl Strategy<Value = String> {
    "[ -~äß✓]{0,20}"
}

fn path() -> impl Strategy<Value = String> {
    "(/[A-Za-z0-9 ._#\\\\-]{0,8}[A-Za-z0-9]){1,3}"
}

fn options() -> impl Strategy<Value = Vec<MountOption>> {
    let all = vec![MountOption::Noatime, MountOption::Nodev, MountOption::Noexec, MountOption::Nosuid];
    proptest::sample::subsequence(all, 0..4)
}

fn nic() -> impl Strategy<Value = CtNic> {
    (
        proptest::option::of(names()),
        proptest::collection::vec("10\\.[0-9]\\.[0-9]\\.[1-9]/24", 0..3),
        any::<(bool, bool, bool)>(),
        proptest::option::of(68..65_535u32),
        proptest::option::of(1..4095u16),
    )
        .prop_map(|(network, addresses, (v6, dhcp, up), mtu, vlan)| {
            let mut addresses = addresses;
            addresses.extend(v6.then(|| "fd00::5/64".to_owned()));
            CtNic {
                bridge: network.is_none().then(|| "br0".to_owned()),
                network,
                addresses,
                dhcp4: Some(dhcp),
                dhcp6: Some(!dhcp),
                gateway: dhcp.then(|| "10.0.0.1".to_owned()),
                gateway6: v6.then(|| "fd00::1".to_owned()),
                mac: Some("52:54:00:0a:0b:0c".into()),
                mtu,
                rate: up.then_some("80Mbps".parse().unwrap()),
                vlan,
                link_up: Some(up),
            }
        })
}

fn mount() -> impl Strategy<Value = (Mount, Backing)> {
    (path(), path(), 0..4u8, any::<(bool, bool)>(), options()).prop_map(
        |(at, from, sort, (read_only, backup), options)| {
            let place = match sort {
                0 => Place::Image(from.clone().into()),
                1 => Place::Block(from.clone().into()),
                _ => Place::Directory(from.clone().into()),
            };
            let storage = Name::new("local").unwrap();
            let mut mount = Mount {
                path: Some(at),
                read_only: Some(read_only),
                backup: Some(backup),
                mount_options: options,
                ..Mount::default()
            };
            let mut backing = Backing::host(place);
            match sort {
                0 => {
                    (mount.storage, mount.size) = (Some(storage.clone()), Some(Size::gib(1)));
                    (backing.storage, backing.size) = (Some(storage), Some(Size::gib(1)));
                }
                1 => {
                    mount.volume = Some(storage.clone());
                    (backing.storage, backing.resource) = (Some(storage.clone()), Some(storage));
                }
                _ => mount.host_path = Some(from),
            }
            (mount, backing)
        },
    )
}

prop_compose! {
    fn parts()(
        unprivileged in any::<bool>(),
        arch in proptest::sample::select(vec![None, Some(Arch::Amd64), Some(Arch::I386), Some(Arch::Riscv64)]),
        hostname in "[a-z]{1,12}",
        features in any::<(bool, bool, bool, bool)>(),
        env in proptest::collection::btree_map("[A-Z_]{1,6}", line(), 0..4),
        entrypoint in proptest::collection::vec("[ -~&&[^\"]]{0,12}", 0..4),
        cpu in (proptest::option::of(1..=8u32), proptest::option::of(1..800_000u32), 1..=10_000u32),
        memory in (proptest::option::of(1..1_000_000u64), proptest::option::of(0..1_000_000u64)),
        rootfs_options in options(),
    ) -> CtSpec {
        let mut spec = CtSpec {
            unprivileged: Some(unprivileged),
            arch,
            hostname: Some(hostname),
            features: Some(Features {
                nesting: Some(features.0),
                fuse: Some(features.1),
                keyctl: Some(features.2),
                mknod: Some(features.3 && !unprivileged),
            }),
            env: Some(env),
            entrypoint,
            cpu: Some(CtCpu { cores: cpu.0, limit: cpu.1.map(|l| f64::from(l) / 100_000.0), weight: Some(cpu.2) }),
            memory: Some(CtMemory {
                size: memory.0.map(|pages| Size(pages * 4096)),
                swap: memory.0.and(memory.1).map(|pages| Size(pages * 4096)),
            }),
            rootfs: Some(Rootfs { mount_options: rootfs_options, read_only: Some(features.0), ..Rootfs::default() }),
            description: Some("what it is for".into()),
            nameservers: vec!["10.0.0.1".into()],
            ..CtSpec::default()
        };
        spec.fill();
        spec
    }
}

fn record() -> impl Strategy<Value = Record> {
    (
        parts(),
        proptest::collection::btree_map(names(), nic(), 0..4),
        proptest::collection::btree_map(names(), mount(), 0..4),
        proptest::collection::btree_map(names(), path(), 0..3),
        any::<(bool, u128)>(),
    )
        .prop_map(|(mut spec, nics, mounts, devices, (own, uid))| {
            let mut rootfs = Backing::host(Place::Directory("/srv/root".into()));
            if let Some(root) = &mut spec.rootfs {
                if own {
                    let storage = Name::new("local").unwrap();
                    (root.storage, root.size) = (Some(storage.clone()), Some(Size::gib(4)));
                    rootfs.place = Place::Image("/srv/ct-x-rootfs.raw".into());
                    (rootfs.storage, rootfs.size) = (Some(storage), root.size);
                } else {
                    root.host_path = Some("/srv/root".into());
                }
            }
            spec.mounts = mounts.iter().map(|(name, (mount, _))| (name.clone(), mount.clone().into())).collect();
            spec.devices = devices
                .into_iter()
                .map(|(name, path)| {
                    (name, Device { path: Some(path), mode: Some("0600".into()), ..Device::default() }.into())
                })
                .collect();
            spec.nics = nics.into_iter().map(|(name, nic)| (name, nic.into())).collect();
            spec.settle();
            spec.fill();
            let bridges: BTreeMap<Name, String> = spec.nics.keys().map(|n| (n.clone(), "br0".to_owned())).collect();
            Record {
                mark: Mark { uid: Uid::from(uuid::Uuid::from_u128(uid)), resource: "ct/x".into(), applied: None },
                spec,
                rootfs,
                mounts: mounts.into_iter().map(|(name, (_, backing))| (name, backing)).collect(),
                bridges,
                intent: Intent::None,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_spec_survives_the_way_into_a_configuration_and_back(record in record(), v1 in any::<bool>()) {
        let (name, host) = (Name::new("x").unwrap(), host(v1));
        let text = render(&name, &record, &host, &["lxc.prlimit.nofile = 1".to_owned()]).unwrap();
        let found = read(&text, &name, Some(&record), &host);
        prop_assert_eq!(found.spec.canonical(), record.spec.canonical(), "{}", text);
        prop_assert_eq!(found.rootfs.as_ref(), Some(&record.rootfs.place));
        prop_assert_eq!(&found.foreign, &["lxc.prlimit.nofile = 1".to_owned()], "{}", text);
        // Writing what was read changes nothing.
        let again = render(&name, &Record { spec: found.spec, ..record }, &host, &found.foreign).unwrap();
        prop_assert_eq!(again, text);
    }

    #[test]
    fn any_text_is_read_without_harm(text in "(lxc\\.[a-z0-9.]{0,20} ?=? ?[ -~]{0,30}\n|[ -~]{0,40}\n){0,20}") {
        let name = Name::new("x").unwrap();
        let found = read(&text, &name, None, &host(true));
        for line in &found.foreign {
            prop_assert!(!line.contains('\n'));
        }
    }
}

fn simple() -> Record {
    let mut spec: CtSpec = serde_json::from_value(serde_json::json!({
        "rootfs": {"storage": "local", "size": "4Gi", "image": "debian"}, "hostname": "web",
        "cpu": {"cores": 2, "limit": 1.5}, "memory": {"size": "256Mi", "swap": "128Mi"},
        "mounts": {"data": {"path": "/srv", "storage": "local", "size": "10Gi"}},
        "nics": {"eth0": {"network": "lan", "addresses": ["10.40.0.53/24"], "gateway": "10.40.0.1", "mac": "52:54:00:00:00:01"}}
    }))
    .unwrap();
    spec.fill();
    let backing = |file: &str, size| Backing {
        storage: Some(Name::new("local").unwrap()),
        size: Some(size),
        ..Backing::host(Place::Image(format!("/srv/reeve storage/{file}").into()))
    };
    Record {
        mark: Mark { uid: Uid::from(uuid::Uuid::from_u128(0)), resource: "ct/web".into(), applied: None },
        spec,
        rootfs: backing("ct-web-rootfs.raw", Size::gib(4)),
        mounts: [(Name::new("data").unwrap(), backing("ct-web-data.raw", Size::gib(10)))].into(),
        bridges: [(Name::new("eth0").unwrap(), "rv-lan".to_owned())].into(),
        intent: Intent::None,
    }
}

#[test]
fn a_configuration_reads_well() {
    let name = Name::new("web").unwrap();
    insta::assert_snapshot!("v2", render(&name, &simple(), &host(false), &[]).unwrap());
    insta::assert_snapshot!("v1", render(&name, &simple(), &host(true), &[]).unwrap());
}

#[test]
fn a_line_someone_changed_is_drift() {
    let (name, host, record) = (Name::new("web").unwrap(), host(false), simple());
    let text = render(&name, &record, &host, &[]).unwrap();
    // A line added below the marker is in force for LXC, so it is what is configured.
    let found = read(&format!("{text}lxc.cgroup2.memory.max = 1048576\n"), &name, Some(&record), &host);
    assert_eq!(found.spec.memory().size, Some(Size::mib(1)));
    let found = read(&text.replace("rv-lan", "br7"), &name, Some(&record), &host);
    assert_eq!(found.spec.nics["eth0"].bridge.as_deref(), Some("br7"));
    assert_eq!(found.spec.nics["eth0"].network, None);
    let found = read(&text.replace("ct-web-data", "other"), &name, Some(&record), &host);
    assert_eq!(found.spec.mounts["data"].host_path.as_deref(), Some("/srv/reeve storage/other.raw"));
}

#[test]
fn what_cannot_be_said_is_refused() {
    let (name, host) = (Name::new("web").unwrap(), host(false));
    let mut record = simple();
    record.rootfs.place = Place::Image("/srv/it's".into());
    assert!(render(&name, &record, &host, &[]).unwrap_err().message.contains("cannot stand in a hook"));
    let mut record = simple();
    record.spec.env = Some([("A".to_owned(), "x\nlxc.hook.start = evil".to_owned())].into());
    assert!(render(&name, &record, &host, &[]).unwrap_err().message.contains("lxc.environment"));
}
