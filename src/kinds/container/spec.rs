//! What a Container manifest says: data only.
//!
//! The words before each type are those of [`crate::kinds::fields`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::base::{Name, Rate, Seconds, Size};
use crate::kinds::fields::fields;
pub use crate::kinds::vm::{Reconcile, RunStrategy, Startup};

/// A word of a manifest: an enum without data.
macro_rules! words {
    ($($(#[$meta:meta])* $Name:ident ($case:literal) { $($(#[$m:meta])* $Word:ident),+ $(,)? })+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = $case)]
        pub enum $Name { $($(#[$m])* $Word),+ }
    )+ };
}

fields! {
    /// A system container: a Linux of its own on the host's kernel.
    CtSpec {
        /// What it is for, in words.
        #[schemars(length(max = 8192))]
        description: maybe String, "none";
        /// Words to find it by; their order does not matter.
        tags: list String, "none";
        /// The node it runs on; the node that applies when left out.
        node: unmanaged Name, "migrate";
        /// When it runs.
        run_strategy: value RunStrategy, "none", RunStrategy::RerunOnFailure;
        /// What is done about differences.
        reconcile: value Reconcile, "none", Reconcile::Enforce;
        /// Whether the guest's root is an ordinary user of the host; cannot be changed once the container exists.
        unprivileged: value bool, "restart", true;
        /// The instruction set the guest is told of; the host's own when left out.
        arch: maybe Arch, "restart";
        /// The root file system; it must be there.
        rootfs: device Rootfs, "restart";
        /// What else is mounted, by name.
        mounts: map Mount, "restart";
        /// Processors.
        cpu: section CtCpu, "live";
        /// Memory.
        memory: section CtMemory, "live";
        /// Network interfaces by the name they have in the guest.
        nics: map CtNic, "live";
        /// The guest's host name; the container's name when left out.
        #[schemars(length(max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))]
        #[schemars(extend("x-reeve-rule" = "letters, digits, '-' and '.', such as web-1 or web-1.example.org"))]
        hostname: maybe String, "live";
        /// The DNS servers the guest asks, first to last; the guest's own affair when left out.
        nameservers: list String, "live";
        /// The domain the guest looks names up in; none when left out.
        #[schemars(length(max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9. ]*[A-Za-z0-9])?$"))]
        #[schemars(extend("x-reeve-rule" = "domain names with a space between them, such as example.org"))]
        searchdomain: maybe String, "live";
        /// What the guest may do beyond the ordinary.
        features: section Features, "restart";
        /// Variables of the first program's environment.
        env: value BTreeMap<String, String>, "restart", BTreeMap::<String, String>::new();
        /// The first program and its arguments; the guest's own init when left out.
        entrypoint: list String, "restart";
        /// Devices of the host that the guest may use, by name.
        devices: map Device, "restart";
        /// When it starts and stops among others.
        startup: section Startup, "none";
        /// How long an orderly shutdown may take.
        stop_timeout: value Seconds, "none", Seconds(60);
    }
    /// A root file system: on a `storage`, or at a `hostPath`.
    Rootfs {
        /// The storage that keeps it; it is made there with the container.
        storage: maybe Name, "migrate";
        /// How large it is; it only ever grows.
        size: unmanaged Size, "live";
        /// The image it starts as a copy of. A new image changes nothing that is there.
        image: unmanaged Name, "none";
        /// A directory of the host that holds it already, as an adopted container has; Reeve never makes or removes it.
        host_path: maybe String, "restart";
        /// Whether the guest may only read it.
        read_only: value bool, "restart", false;
        /// How it is mounted.
        mount_options: list MountOption, "restart";
    }
    /// Something mounted in the guest: `storage` and `size`, a `volume`, or a `hostPath`.
    Mount {
        /// Where in the guest, `/srv`.
        path: maybe String, "restart";
        /// The storage that keeps it; it is made there with the container.
        storage: maybe Name, "migrate";
        /// How large it is; it only ever grows.
        size: unmanaged Size, "live";
        /// A Volume to mount, instead of one of the container's own.
        volume: maybe Name, "restart";
        /// A file or directory of the host to show in the guest, with the host's owners.
        host_path: maybe String, "restart";
        /// Whether the guest may only read it.
        read_only: value bool, "restart", false;
        /// How it is mounted.
        mount_options: list MountOption, "restart";
        /// Whether backups contain it; never so for a `hostPath`.
        backup: value bool, "none", true;
    }
    /// Processors.
    CtCpu {
        /// How many of the host's processors it may use, picked by Reeve; all when left out.
        #[schemars(range(min = 1, max = 8192))]
        cores: maybe u32, "live";
        /// At most this many processors' worth of time; no limit when left out.
        #[schemars(range(min = 0.01, max = 8192))]
        limit: maybe f64, "live";
        /// The share of time under contention, against the other guests' weights.
        #[schemars(range(min = 1, max = 10000))]
        weight: value u32, "live", 100;
    }
    /// Memory.
    CtMemory {
        /// How much it may use; no limit when left out.
        size: maybe Size, "live";
        /// How much swap it may use on top; no limit of its own when left out.
        swap: maybe Size, "live";
    }
    /// A network interface: on a `network`, or on a `bridge` of the host.
    CtNic {
        /// The Network it is connected to.
        network: maybe Name, "live";
        /// The bridge of the host it is connected to, where no Network resource stands for it.
        #[schemars(length(max = 15))]
        bridge: maybe String, "live";
        /// Its addresses with the prefix length, IPv4 and IPv6, such as `10.40.0.53/24`.
        addresses: list String, "live";
        /// Whether the guest asks for an IPv4 address; needs a DHCP client in the guest.
        dhcp4: value bool, "restart", false;
        /// Whether the guest asks for an IPv6 address; needs a DHCP client in the guest.
        dhcp6: value bool, "restart", false;
        /// The IPv4 router.
        gateway: maybe String, "live";
        /// The IPv6 router.
        gateway6: maybe String, "live";
        /// The hardware address; follows from the container's UID and the interface's name, and is kept, when left out.
        #[schemars(regex(pattern = r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"))]
        #[schemars(extend("x-reeve-rule" = "six pairs of hexadecimal digits with colons, such as 52:54:00:12:34:56"))]
        mac: unmanaged String, "live";
        /// The largest packet; the bridge's own when left out.
        #[schemars(range(min = 68, max = 65535))]
        mtu: maybe u32, "live";
        /// How fast it may send and receive; no limit when left out.
        rate: maybe Rate, "live";
        /// The VLAN it is in; untagged when left out. Needs a bridge that filters VLANs.
        #[schemars(range(min = 1, max = 4094))]
        vlan: maybe u16, "live";
        /// Whether the cable is plugged in.
        link_up: value bool, "live", true;
    }
    /// What the guest may do beyond the ordinary.
    Features {
        /// Containers in the container; shows the guest more of /proc and /sys.
        nesting: value bool, "restart", false;
        /// File systems in user space, /dev/fuse.
        fuse: value bool, "restart", false;
        /// The kernel's key rings.
        keyctl: value bool, "restart", false;
        /// Making device nodes; never without privileges.
        mknod: value bool, "restart", false;
    }
    /// A device of the host that the guest may use.
    Device {
        /// Where it is, on the host and in the guest, `/dev/net/tun`.
        path: maybe String, "restart";
        /// Its owner in the guest.
        uid: value u32, "restart", 0;
        /// Its group in the guest.
        gid: value u32, "restart", 0;
        /// Who may read and write it, as four octal digits.
        #[schemars(regex(pattern = r"^0[0-7]{3}$"))]
        #[schemars(extend("x-reeve-rule" = "four octal digits in quotes, such as \"0660\""))]
        mode: value String, "restart", "0660".to_owned();
    }
}

words! {
    /// The instruction sets a guest can be told of.
    Arch("lowercase") {
        /// 64-bit x86.
        Amd64,
        /// 32-bit x86.
        I386,
        /// 64-bit ARM.
        Arm64,
        /// 32-bit ARM with hardware floating point.
        Armhf,
        /// 64-bit POWER, little-endian.
        Ppc64el,
        /// 64-bit RISC-V.
        Riscv64,
        /// IBM Z.
        S390x,
    }
    /// How a file system is mounted.
    MountOption("lowercase") {
        /// Space that is freed is given back at once.
        Discard,
        /// Times are written late.
        Lazytime,
        /// Times of reading are not kept.
        Noatime,
        /// Device nodes do not work.
        Nodev,
        /// Programs do not start.
        Noexec,
        /// Set-user-ID bits do not work.
        Nosuid,
    }
}

impl MountOption {
    /// The word for mount(8).
    pub fn word(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Lazytime => "lazytime",
            Self::Noatime => "noatime",
            Self::Nodev => "nodev",
            Self::Noexec => "noexec",
            Self::Nosuid => "nosuid",
        }
    }

    /// The option of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Discard, Self::Lazytime, Self::Noatime, Self::Nodev, Self::Noexec, Self::Nosuid]
            .into_iter()
            .find(|o| o.word() == word)
    }
}

/// An address with its prefix length, `10.40.0.53/24`.
pub fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok().filter(|_| length.bytes().all(|b| b.is_ascii_digit()))?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

impl CtSpec {
    /// Puts the lists whose order means nothing into a fixed order, and text into one spelling.
    pub fn settle(&mut self) {
        self.tags.sort();
        self.tags.dedup();
        let sort = |options: &mut Vec<MountOption>| {
            options.sort();
            options.dedup();
        };
        if let Some(rootfs) = &mut self.rootfs {
            sort(&mut rootfs.mount_options);
        }
        self.mounts.values_mut().for_each(|m| sort(&mut m.mount_options));
        for nic in self.nics.values_mut() {
            for address in &mut nic.addresses {
                if let Some((ip, length)) = cidr(address) {
                    *address = format!("{ip}/{length}");
                }
            }
            for gateway in nic.gateway.iter_mut().chain(&mut nic.gateway6) {
                if let Ok(ip) = gateway.parse::<IpAddr>() {
                    *gateway = ip.to_string();
                }
            }
            // The kernel counts in whole bytes per second.
            nic.rate = nic.rate.map(|rate| Rate(rate.0.div_ceil(8).saturating_mul(8)));
            nic.addresses.sort();
            nic.addresses.dedup();
            if let Some(mac) = &mut nic.mac {
                mac.make_ascii_lowercase();
            }
        }
        if let Some(cpu) = &mut self.cpu
            && let Some(limit) = &mut cpu.limit
        {
            // The kernel counts in hundred-thousandths of a processor.
            *limit = (*limit * 100_000.0).round() / 100_000.0;
        }
    }
}
