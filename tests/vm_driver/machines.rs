//! Random machines, every field of them.

use std::collections::BTreeMap;

use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop};
use proptest::prop_oneof;
use reeve::base::{Name, Rate, Size};
use reeve::drivers::guest::{Link, Machine};
use reeve::drivers::storage::{Attachment, Format};
use reeve::kinds::vm::*;

/// Text a person may write into a description.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,30}",
        Just("<b>&amp;\"'</b> ]]> {{x}} $(y) `z`".to_owned()),
        Just("line one\n\tline two\n".to_owned()),
        Just("é€ 𝄞 \u{202e}x".to_owned()),
    ]
    .prop_filter("libvirt keeps no blank description", |t| !t.trim().is_empty())
}

fn machine_type() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("q35".to_owned()), 1 => Just("pc".to_owned())]
}

fn cpu() -> impl Strategy<Value = Cpu> {
    let model = prop_oneof![Just("host"), Just("qemu64"), Just("EPYC"), Just("Nehalem")];
    let limit = of(1u32..4000).prop_map(|l| l.map(|l| (f64::from(l).max(10.0)) / 1000.0));
    (1..=2u32, 1..=3u32, 1..=2u32, 1..=3u32, model, limit, 1..=10_000u32, any::<bool>()).prop_map(
        |(sockets, cores, threads, more, model, limit, weight, pin)| Cpu {
            sockets: Some(sockets),
            cores: Some(cores),
            threads: Some(threads),
            max_cores: Some(sockets * cores * threads * more).filter(|_| more > 1),
            model: Some(model.to_owned()),
            limit,
            weight: Some(weight),
            pinning: if pin { vec![CpuRange { first: 0, last: 1 }] } else { vec![] },
        },
    )
}

fn memory() -> impl Strategy<Value = Memory> {
    (
        64..512u64,
        of(1..512u64),
        any::<bool>(),
        prop_oneof![4 => Just(Hugepages::None), 1 => Just(Hugepages::Mi2), 1 => Just(Hugepages::Gi1)],
    )
        .prop_map(|(size, more, balloon, hugepages)| Memory {
            size: Some(Size::mib(size)),
            balloon_min: None,
            max: more.map(|more| Size::mib(size + more)),
            balloon: Some(balloon),
            hugepages: Some(hugepages),
        })
}

fn limits() -> impl Strategy<Value = Limits> {
    let count = || of(1..1_000_000u64);
    (any::<[bool; 2]>(), count(), count(), count(), count()).prop_map(|(total, a, b, c, d)| {
        let size = |n: Option<u64>| n.map(|n| Size(n * 1024));
        Limits {
            iops: a.filter(|_| total[0]),
            iops_read: a.filter(|_| !total[0]),
            iops_write: b.filter(|_| !total[0]),
            bandwidth: size(c.filter(|_| total[1])),
            bandwidth_read: size(c.filter(|_| !total[1])),
            bandwidth_write: size(d.filter(|_| !total[1])),
        }
    })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    let format = prop_oneof![Just(Format::Raw), Just(Format::Qcow2)];
    prop_oneof![
        4 => ("/[a-z &<>'\"]{1,12}", format.clone()).prop_map(|(path, format)| Attachment::File { path: path.into(), format }),
        1 => Just(Attachment::Block { path: "/dev/loop0".into() }),
        1 => of(any::<u128>()).prop_map(|secret| Attachment::Rbd {
            name: "pool/space/image".into(),
            monitors: vec!["10.0.0.1:6789".into(), "[fd00::1]:3300".into()],
            user: secret.map(|_| "reeve".into()),
            secret: secret.map(uuid::Uuid::from_u128),
        }),
        1 => (0..255u32).prop_map(|lun| Attachment::Iscsi {
            portal: "10.0.0.1:3260".into(), target: "iqn.2026-01.test:a".into(), lun }),
        1 => format.prop_map(|format| Attachment::Gluster {
            name: "vol/dir/disk".into(), hosts: vec!["g1".into(), "g2".into()], format }),
    ]
}

fn disk() -> impl Strategy<Value = (Disk, Option<Attachment>)> {
    let bus = prop_oneof![3 => Just(Bus::Virtio), 2 => Just(Bus::Scsi), 1 => Just(Bus::Sata), 1 => Just(Bus::Usb)];
    let cache = prop_oneof![
        Just(Cache::None),
        Just(Cache::Writethrough),
        Just(Cache::Writeback),
        Just(Cache::Directsync),
        Just(Cache::Unsafe)
    ];
    let io = prop_oneof![Just(Io::Threads), Just(Io::Native), Just(Io::IoUring)];
    (bus, cache, of(io), any::<[bool; 5]>(), of("[A-Za-z0-9_.+-]{1,20}"), limits(), attachment()).prop_map(
        |(bus, cache, io, flags, serial, limits, attachment)| {
            let [discard, iothread, ssd, read_only, limited] = flags;
            let format = match &attachment {
                Attachment::File { format, .. } | Attachment::Gluster { format, .. } => *format,
                _ => Format::Raw,
            };
            let direct = matches!(cache, Cache::None | Cache::Directsync);
            let disk = Disk {
                media: Some(Media::Disk),
                format: Some(format),
                bus: Some(bus),
                cache: Some(cache),
                io: io.filter(|io| direct || *io != Io::Native),
                discard: Some(discard),
                iothread: Some(iothread && matches!(bus, Bus::Virtio | Bus::Scsi)),
                ssd: Some(ssd && matches!(bus, Bus::Scsi | Bus::Sata)),
                serial,
                read_only: Some(read_only && bus != Bus::Sata),
                limits: Some(if limited { limits } else { Limits::default() }),
                ..Disk::default()
            };
            (disk, Some(attachment))
        },
    )
}

fn drive() -> impl Strategy<Value = (Disk, Option<Attachment>)> {
    of(Just(Attachment::File { path: "/srv/a.iso".into(), format: Format::Raw }))
        .prop_map(|medium| (Disk { media: Some(Media::Cdrom), bus: Some(Bus::Sata), ..Disk::default() }, medium))
}

fn nic() -> impl Strategy<Value = (Nic, Option<Link>)> {
    let model = prop_oneof![
        Just(NicModel::Virtio),
        Just(NicModel::E1000),
        Just(NicModel::E1000e),
        Just(NicModel::Rtl8139),
        Just(NicModel::Vmxnet3)
    ];
    let link = prop_oneof![
        Just(Some(Link::Network { name: "some-net".into() })),
        Just(Some(Link::Bridge { bridge: "some-br".into() })),
        Just(None),
    ];
    (model, any::<[u8; 3]>(), of(1..4095u16), of(576..9000u32), of(1..1_000_000u64), 1..=8u32, any::<bool>(), link)
        .prop_map(|(model, mac, vlan, mtu, rate, queues, link_up, link)| {
            let nic = Nic {
                model: Some(model),
                mac: Some(format!("52:54:00:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2])),
                vlan: vlan.filter(|_| link.is_some()),
                mtu: mtu.filter(|_| link.is_some()),
                rate: rate.map(|r| Rate(r * 8000)).filter(|_| link.is_some()),
                queues: Some(if model == NicModel::Virtio { queues } else { 1 }),
                link_up: Some(link_up),
                ..Nic::default()
            };
            (nic, link)
        })
}

fn display() -> impl Strategy<Value = Display> {
    (prop_oneof![Just(DisplayType::Vnc), Just(DisplayType::None)], of(5900..6000u16), any::<bool>()).prop_map(
        |(kind, port, anywhere)| match kind {
            DisplayType::None => Display { r#type: Some(kind), ..Display::default() },
            _ => Display {
                r#type: Some(kind),
                port,
                listen: Some(if anywhere { "0.0.0.0" } else { "127.0.0.1" }.to_owned()),
                password: None,
            },
        },
    )
}

fn simple() -> impl Strategy<Value = VmSpec> {
    let video =
        prop_oneof![Just(VideoModel::Virtio), Just(VideoModel::Vga), Just(VideoModel::Cirrus), Just(VideoModel::None)];
    let action =
        prop_oneof![Just(WatchdogAction::Reset), Just(WatchdogAction::InjectNmi), Just(WatchdogAction::Poweroff)];
    let smbios = (of("[A-Za-z <&]{0,8}[A-Z]"), of("[A-Za-z0-9]{1,8}"));
    (display(), video, any::<[bool; 5]>(), of(action), of(smbios), of(text()), any::<bool>()).prop_map(
        |(display, video, flags, watchdog, smbios, description, v12)| {
            let [serial, rng, agent, tpm, kernel] = flags;
            let version = if v12 { TpmVersion::V12 } else { TpmVersion::V20 };
            VmSpec {
                description,
                display: Some(display),
                video: Some(Video { model: Some(video) }),
                serial: Some(serial),
                rng: Some(Rng { enabled: Some(rng), source: None }),
                agent: Some(Agent { enabled: Some(agent) }),
                tpm: tpm.then_some(Tpm { version: Some(version) }),
                watchdog: watchdog
                    .map(|action| Watchdog { model: Some(WatchdogModel::I6300esb), action: Some(action) }),
                smbios: smbios
                    .map(|(product, serial)| Smbios { product, serial, ..Smbios::default() })
                    .filter(|s| *s != Smbios::default()),
                boot: kernel.then(|| Boot {
                    order: Vec::new(),
                    kernel: Some("/boot/a b".into()),
                    initrd: Some("/boot/i".into()),
                    cmdline: Some("root=/dev/vda \"quoted\" <x> &".into()),
                }),
                ..VmSpec::default()
            }
        },
    )
}

fn hostdevs() -> impl Strategy<Value = (BTreeMap<Name, Usb>, BTreeMap<Name, Pci>)> {
    let usb = prop_oneof![
        Just(Usb { vendor: Some("046d".into()), product: Some("c52b".into()), ..Usb::default() }),
        Just(Usb { bus: Some(1), device: Some(9), ..Usb::default() }),
    ];
    let pci = any::<bool>().prop_map(|bar| Pci { address: Some("0000:0a:1f.7".into()), rom_bar: Some(bar) });
    (of(usb), of(pci)).prop_map(|(usb, pci)| {
        (usb.map(|u| (name("key"), u)).into_iter().collect(), pci.map(|p| (name("card"), p)).into_iter().collect())
    })
}

/// A name that is one.
pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn names() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9-]{0,6}[a-z]".prop_map(|n| name(&n))
}

/// A machine that libvirt will define.
pub fn machine() -> impl Strategy<Value = Machine> {
    let devices = (
        prop::collection::btree_map(names(), disk(), 0..5),
        prop::collection::btree_map("cd[0-9]".prop_map(|n| name(&n)), drive(), 0..2),
        prop::collection::btree_map(names(), nic(), 0..4),
        hostdevs(),
        of(Just("/srv/seed <1>.iso")),
        any::<[bool; 3]>(),
    );
    (simple(), machine_type(), cpu(), memory(), devices).prop_map(|(mut spec, machine, cpu, memory, devices)| {
        let (disks, drives, nics, (usb, pci), seed, [boot, uefi, secure]) = devices;
        let q35 = machine == "q35";
        if uefi && q35 {
            let firmware =
                Firmware { r#type: Some(FirmwareType::Uefi), secure_boot: Some(secure), ..Firmware::default() };
            spec.firmware = Some(firmware);
        }
        spec.machine = Some(machine);
        spec.accelerator = Some(Accelerator::Tcg);
        spec.cpu = Some(cpu);
        spec.memory = Some(memory);
        let mut made = Machine { seed: seed.map(Into::into), ..Machine::default() };
        for (i, (name, (mut disk, attachment))) in disks.into_iter().chain(drives).enumerate() {
            disk.boot_order = boot.then_some(u32::try_from(i).unwrap() + 1);
            if disk.media() == Media::Cdrom && !q35 {
                disk.bus = Some(Bus::Ide);
            }
            spec.disks.insert(name.clone(), disk.into());
            made.disks.insert(name, attachment);
        }
        for (i, (name, (mut nic, link))) in nics.into_iter().enumerate() {
            nic.boot_order = boot.then_some(u32::try_from(i).unwrap() + 20);
            spec.nics.insert(name.clone(), nic.into());
            made.links.insert(name, link);
        }
        spec.usb = usb.into_iter().map(|(name, device)| (name, device.into())).collect();
        spec.pci = pci.into_iter().map(|(name, device)| (name, device.into())).collect();
        spec.fill();
        made.spec = spec;
        made
    })
}

/// A machine without what a driver does not tell, in the one form in which two compare.
pub fn settled(machine: &Machine) -> Machine {
    let mut machine = machine.clone();
    let spec = &mut machine.spec;
    spec.fill();
    spec.machine = spec.machine.as_ref().map(|m| if m.contains("q35") { "q35" } else { "pc" }.to_owned());
    (spec.run_strategy, spec.reconcile, spec.startup, spec.stop_timeout) = (None, None, None, None);
    if let Some(boot) = &mut spec.boot {
        boot.order.clear();
    }
    if let Some(cpu) = &mut spec.cpu {
        cpu.max_cores = Some(cpu.most());
    }
    if let Some(memory) = &mut spec.memory {
        memory.max = Some(memory.most());
    }
    if let Some(firmware) = &mut spec.firmware {
        firmware.nvram = None;
    }
    if let Some(display) = &mut spec.display
        && display.r#type() == DisplayType::None
    {
        display.listen = None;
    }
    for disk in spec.disks.values_mut() {
        (disk.backup, disk.on_remove, disk.size) = (None, None, None);
        if disk.media() == Media::Cdrom {
            (disk.read_only, disk.format) = (None, None);
        }
    }
    machine
}
