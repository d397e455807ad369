//! What goes wrong: calls that fail, are slow, or do their work and say that they failed; and what others do to a node.

use std::time::Duration;

use proptest::prelude::*;
use reeve::base::{Fault, FaultKind, Mark, Name, Size, Uid};
use reeve::drivers::container::fake::Trouble as CtTrouble;
use reeve::drivers::container::{Ended, Power as CtPower};
use reeve::drivers::guest::fake::Trouble as VmTrouble;
use reeve::drivers::guest::{Machine, Power, Stop};
use reeve::drivers::network::Seen;
use reeve::drivers::storage::fake::Rule;
use reeve::drivers::storage::{Format, VolumeInfo};
use reeve::kinds::Ref;
use reeve::kinds::container::CtSpec;
use reeve::kinds::network::{NetworkSpec, NetworkType};
use reeve::kinds::storage::Content;
use serde_json::json;

use super::fragile::Death;
use super::node::Node;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Fails,
    FailsAfter,
    Slow,
}

/// One call that goes wrong.
#[derive(Debug, Clone)]
pub enum Trouble {
    Vm(usize, How),
    Ct(usize, How),
    Libvirt(usize, How),
    Bridge(usize, How),
    Disk(usize, &'static str, How),
}

/// One run with what goes wrong in it.
#[derive(Debug, Clone)]
pub struct Round {
    pub troubles: Vec<Trouble>,
    pub death: Option<Death>,
}

const DISK_CALLS: [&str; 9] = ["create", "grow", "remark", "find", "list", "activate", "set-mark", "delete", "clean"];

fn trouble() -> impl Strategy<Value = Trouble> {
    let how = || prop::sample::select(&[How::Fails, How::FailsAfter, How::FailsAfter, How::Slow][..]);
    prop_oneof![
        3 => (1..25_usize, how()).prop_map(|(n, how)| Trouble::Vm(n, how)),
        3 => (1..25_usize, how()).prop_map(|(n, how)| Trouble::Ct(n, how)),
        1 => (0..12_usize, how()).prop_map(|(n, how)| Trouble::Libvirt(n, how)),
        1 => (0..12_usize, how()).prop_map(|(n, how)| Trouble::Bridge(n, how)),
        3 => (0..2_usize, prop::sample::select(&DISK_CALLS[..]), how()).prop_map(|(d, call, how)| Trouble::Disk(d, call, how)),
    ]
}

/// Runs in which calls go wrong, or the process dies.
pub fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let death = prop::option::of((1..70_u32, any::<bool>()).prop_map(|(commit, after)| Death { commit, after }));
    let round = (prop::collection::vec(trouble(), 0..4), death).prop_map(|(troubles, death)| Round { troubles, death });
    prop::collection::vec(round, 0..3)
}

impl Trouble {
    /// Lets it happen.
    pub fn arm(&self, node: &Node) {
        let kind = FaultKind::Unavailable;
        let fault = || Fault::new(kind, "the call was told to fail");
        let slow = Duration::from_millis(1);
        match *self {
            Self::Vm(call, How::Fails) => node.vms.trouble(call, VmTrouble::Fails(kind)),
            Self::Vm(call, How::FailsAfter) => node.vms.trouble(call, VmTrouble::FailsAfter(kind)),
            Self::Vm(call, How::Slow) => node.vms.trouble(call, VmTrouble::Slow(slow)),
            Self::Ct(call, How::Fails) => node.cts.trouble(call, CtTrouble::Fails(kind)),
            Self::Ct(call, How::FailsAfter) => node.cts.trouble(call, CtTrouble::FailsAfter(kind)),
            Self::Ct(call, How::Slow) => node.cts.trouble(call, CtTrouble::Slow(slow)),
            Self::Libvirt(calls, How::FailsAfter) => node.libvirt.lose_answer_after(calls, fault()),
            Self::Libvirt(calls, _) => node.libvirt.fail_after(calls, fault()),
            Self::Bridge(calls, How::FailsAfter) => node.bridges.lose_answer_after(calls, fault()),
            Self::Bridge(calls, _) => node.bridges.fail_after(calls, fault()),
            Self::Disk(disk, call, How::Fails) => node.disks[disk].add(Rule::fail(call, kind).times(1)),
            Self::Disk(disk, call, How::FailsAfter) => node.disks[disk].add(Rule::fail(call, kind).after().times(1)),
            Self::Disk(disk, call, How::Slow) => node.disks[disk].add(Rule::slow(call, slow).times(1)),
        }
    }
}

/// Everything works again.
pub fn calm(node: &Node) {
    node.vms.calm();
    node.cts.calm();
    node.libvirt.calm();
    node.bridges.calm();
    node.disks.iter().for_each(|d| d.heal());
}

/// What others do to what Reeve made.
#[derive(Debug, Clone)]
pub enum Drift {
    VmEnds(usize, Stop),
    VmEdited(usize, u32),
    VmGone(usize),
    CtEnds(usize, bool),
    CtEdited(usize, u32),
    CtGone(usize),
    NetworkDown(&'static str),
    NetworkGone(&'static str),
    VolumeGone(&'static str),
    ImageGone(&'static str),
    ImageTouched(&'static str),
}

/// A few of them.
pub fn drifts() -> impl Strategy<Value = Vec<Drift>> {
    let stop = prop::sample::select(&[Stop::Shutdown, Stop::Crashed, Stop::Destroyed, Stop::Unknown][..]);
    let network = || prop::sample::select(&["lan", "alone", "made"][..]);
    let image = || prop::sample::select(&["disk", "tree", "medium"][..]);
    let one = prop_oneof![
        (0..2_usize, stop).prop_map(|(n, how)| Drift::VmEnds(n, how)),
        (0..2_usize, any::<u32>()).prop_map(|(n, what)| Drift::VmEdited(n, what)),
        (0..2_usize).prop_map(Drift::VmGone),
        (0..2_usize, any::<bool>()).prop_map(|(n, halted)| Drift::CtEnds(n, halted)),
        (0..2_usize, any::<u32>()).prop_map(|(n, what)| Drift::CtEdited(n, what)),
        (0..2_usize).prop_map(Drift::CtGone),
        network().prop_map(Drift::NetworkDown),
        network().prop_map(Drift::NetworkGone),
        prop::sample::select(&["data-0", "files-0", "data-1", "files-1"][..]).prop_map(Drift::VolumeGone),
        image().prop_map(Drift::ImageGone),
        image().prop_map(Drift::ImageTouched),
    ];
    prop::collection::vec(one, 0..5)
}

impl Drift {
    /// Lets it happen.
    pub fn happen(&self, node: &Node) {
        let name = |n: &str| n.parse::<Name>().unwrap();
        let keeper = |n: &str| if n == "made" { node.bridges.clone() } else { node.libvirt.clone() };
        match self {
            Self::VmEnds(n, how) => node.vms.end(&format!("vm-{n}"), *how),
            Self::VmEdited(n, what) => node.vms.meddle(&format!("vm-{n}"), |machine| edit_vm(machine, *what)),
            Self::VmGone(n) => node.vms.lose(&format!("vm-{n}")),
            Self::CtEnds(n, halted) => {
                node.cts.end(&format!("ct-{n}"), if *halted { Ended::Halted } else { Ended::Failed })
            }
            Self::CtEdited(n, what) => node.cts.meddle(&format!("ct-{n}"), |spec| edit_ct(spec, *what)),
            Self::CtGone(n) => node.cts.lose(&format!("ct-{n}")),
            Self::NetworkDown(n) => keeper(n).alter(&name(n), |seen| {
                seen.running = None;
                seen.autostart = false;
            }),
            Self::NetworkGone(n) => keeper(n).lose(&name(n)),
            Self::VolumeGone(n) => node.disks.iter().for_each(|disks| {
                let here = disks.volumes().into_values();
                let of = |v: &VolumeInfo| v.mark.as_ref().is_some_and(|m| m.resource == format!("volume/{n}"));
                here.filter(of).for_each(|v| disks.lose(&v.name));
            }),
            Self::ImageGone(n) => images(node, n).for_each(|path| std::fs::remove_file(path).unwrap()),
            Self::ImageTouched(n) => images(node, n).for_each(|path| {
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, bytes).unwrap();
            }),
        }
    }
}

/// The files of an image of that name, without what is noted beside them.
fn images<'a>(node: &Node, name: &'a str) -> impl Iterator<Item = std::path::PathBuf> + use<'a> {
    let all = std::fs::read_dir(node.data().join("images")).into_iter().flatten().flatten();
    all.map(|e| e.path()).filter(move |path| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        file.starts_with(&format!("{name}-")) && path.extension().is_none_or(|e| e != "json")
    })
}

fn edit_vm(machine: &mut Machine, what: u32) {
    let spec = &mut machine.spec;
    match what % 6 {
        0 => spec.description = Some("edited by hand".into()),
        1 => spec.cpu.get_or_insert_default().weight = Some(777),
        2 => spec.memory.get_or_insert_default().size = Some(Size::mib(96)),
        3 => {
            spec.nics.retain(|name, _| name.as_str() != "eth1");
            machine.links.retain(|name, _| name.as_str() != "eth1");
        }
        4 => spec.disks.values_mut().for_each(|disk| disk.discard = Some(!disk.discard())),
        _ => spec.serial = Some(!spec.serial()),
    }
}

fn edit_ct(spec: &mut CtSpec, what: u32) {
    match what % 4 {
        0 => spec.hostname = Some("edited".into()),
        1 => spec.cpu.get_or_insert_default().weight = Some(777),
        2 => spec.memory.get_or_insert_default().size = Some(Size::mib(96)),
        _ => spec.nics.values_mut().for_each(|nic| nic.link_up = Some(false)),
    }
}

/// What was there before Reeve, under names that manifests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    Vm,
    Ct,
    Network,
    Volume(&'static str),
}

/// None, mostly; sometimes some.
pub fn foreigners() -> impl Strategy<Value = Vec<Foreign>> {
    let volume = prop::sample::select(&["vm-vm-0-root", "vm-vm-1-more", "ct-ct-0-rootfs"][..]);
    let one =
        prop_oneof![Just(Foreign::Vm), Just(Foreign::Ct), Just(Foreign::Network), volume.prop_map(Foreign::Volume),];
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..3)]
}

impl Foreign {
    /// Puts it there.
    pub fn plant(self, node: &Node) {
        match self {
            Self::Vm => {
                let spec = serde_json::from_value(json!({"memory": {"size": "1Gi"}})).unwrap();
                node.vms.put_foreign("vm-0", &Machine { spec, ..Machine::default() }, Power::Running);
            }
            Self::Ct => {
                let spec = serde_json::from_value(json!({"rootfs": {"hostPath": "/srv/old"}})).unwrap();
                node.cts.put_foreign("ct-0", &spec, CtPower::Running);
            }
            Self::Network => {
                let spec = NetworkSpec::of(NetworkType::Nat);
                let name: Name = "lan".parse().unwrap();
                let spec = spec.canonical(&name);
                let running = Some(spec.clone());
                node.libvirt.put(Seen {
                    name,
                    spec: Ok(spec),
                    running,
                    autostart: true,
                    plugged: Vec::new(),
                    mark: None,
                });
            }
            Self::Volume(name) => node.disks.iter().for_each(|disks| {
                let uid: Uid = "6e2e1d0c-8a52-4a6e-9b06-1f5d2b7f0001".parse().unwrap();
                let mark = Mark { uid, resource: "vm/another".into(), applied: None };
                disks
                    .plant(VolumeInfo {
                        name: name.into(),
                        content: Content::Images,
                        format: Format::Raw,
                        size: Size::mib(7),
                        allocated: None,
                        mark: Some(mark),
                        problem: None,
                    })
                    .unwrap();
            }),
        }
    }

    /// The resource that cannot be had because of it.
    pub fn blocks(self) -> Option<Ref> {
        match self {
            Self::Vm => Some("vm/vm-0".parse().unwrap()),
            Self::Ct => Some("ct/ct-0".parse().unwrap()),
            Self::Network => Some("network/lan".parse().unwrap()),
            Self::Volume(_) => None,
        }
    }
}
