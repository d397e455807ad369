//! What a VirtualMachine manifest says: data only.
//!
//! The words before each type: `value` has a documented default, `maybe` and `device` are absent by default,
//! `unmanaged` stays as it is when left out, `section` groups fields, `map` is keyed by a stable name.

mod devices;
mod init;

pub use devices::*;
pub use init::*;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::SecretField;
use crate::base::{Name, Seconds, Size};
use crate::kinds::fields::fields;

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
use words;

fields! {
    /// A virtual machine.
    VmSpec {
        /// What it is for, in words.
        description: maybe String, "none";
        /// Words to find it by; their order does not matter.
        tags: list String, "none";
        /// The node it runs on; the node that applies when left out.
        node: unmanaged Name, "migrate";
        /// When it runs.
        run_strategy: value RunStrategy, "none", RunStrategy::RerunOnFailure;
        /// What is done about differences.
        reconcile: value Reconcile, "none", Reconcile::Enforce;
        /// The machine type: `q35` or `pc` for the newest of the family when the guest is made, or a version such as
        /// `pc-q35-7.2`.
        #[schemars(regex(pattern = r"^(q35|pc|pc-q35-[0-9]+\.[0-9]+|pc-i440fx-[0-9]+\.[0-9]+)$"))]
        #[schemars(extend("x-reeve-rule" = "q35, pc, or a version of one such as pc-q35-7.2 or pc-i440fx-7.2"))]
        machine: value String, "restart", "q35".to_owned();
        /// What executes the guest's code; `auto` takes KVM where it really reaches a 64-bit kernel.
        accelerator: value Accelerator, "restart", Accelerator::Auto;
        /// What starts the machine.
        firmware: section Firmware, "restart";
        /// A trusted platform module; none when left out.
        tpm: device Tpm, "restart";
        /// Processors.
        cpu: section Cpu, "restart";
        /// Memory.
        memory: section Memory, "restart";
        /// Disks and optical drives by name.
        disks: map Disk, "live";
        /// Network cards by name.
        nics: map Nic, "live";
        /// What cloud-init in the guest is told; no seed drive when left out.
        cloud_init: device CloudInit, "live";
        /// The channel to the QEMU guest agent.
        agent: section Agent, "restart";
        /// The screen, reached over the network.
        display: section Display, "restart";
        /// The graphics card.
        video: section Video, "restart";
        /// Whether it has a serial port, which is the console.
        serial: value bool, "restart", true;
        /// A source of random numbers.
        rng: section Rng, "restart";
        /// A watchdog; none when left out.
        watchdog: device Watchdog, "restart";
        /// USB devices of the host given to the guest, by name.
        usb: map Usb, "live";
        /// PCI devices of the host given to the guest, by name.
        pci: map Pci, "restart";
        /// What the firmware tells the guest about the machine; QEMU's own when left out.
        smbios: device Smbios, "restart";
        /// What is booted.
        boot: section Boot, "restart";
        /// When it starts and stops among others.
        startup: section Startup, "none";
        /// How long an orderly shutdown may take.
        stop_timeout: value Seconds, "none", Seconds(120);
    }
}

words! {
    /// When a virtual machine runs.
    RunStrategy("PascalCase") {
        /// Always: started again whatever stopped it.
        Always,
        /// Started, and started again after a crash; a shutdown from inside is respected.
        RerunOnFailure,
        /// Started and stopped by people only.
        Manual,
        /// Never: stopped when it runs.
        Halted,
    }
    /// What is done about differences.
    Reconcile("PascalCase") {
        /// They are removed.
        Enforce,
        /// They are reported.
        Warn,
        /// They are not looked for.
        Suspend,
    }
    /// What executes the guest's code.
    Accelerator("lowercase") {
        /// KVM where it works, otherwise emulation.
        Auto,
        /// The processor itself.
        Kvm,
        /// Emulation.
        Tcg,
    }
    /// What starts the machine.
    FirmwareType("lowercase") {
        /// SeaBIOS.
        Bios,
        /// OVMF.
        Uefi,
    }
    /// The version of a trusted platform module.
    TpmVersion("lowercase") {
        /// 1.2
        #[serde(rename = "1.2")]
        V12,
        /// 2.0
        #[serde(rename = "2.0")]
        V20,
    }
    /// The size of the host's pages that back the guest's memory.
    Hugepages("lowercase") {
        /// Ordinary pages.
        None,
        /// Two mebibytes.
        #[serde(rename = "2Mi")]
        Mi2,
        /// One gibibyte.
        #[serde(rename = "1Gi")]
        Gi1,
    }
    /// How a screen is reached.
    DisplayType("lowercase") {
        /// VNC.
        Vnc,
        /// SPICE.
        Spice,
        /// Not at all.
        None,
    }
    /// The model of a graphics card.
    VideoModel("lowercase") {
        /// virtio-gpu
        Virtio,
        /// Standard VGA.
        Vga,
        /// For SPICE.
        Qxl,
        /// Old.
        Cirrus,
        /// For UEFI without VGA.
        Bochs,
        /// No card.
        None,
    }
    /// The model of a watchdog.
    WatchdogModel("lowercase") {
        /// A PCI card.
        I6300esb,
        /// An ISA card, for `pc`.
        Ib700,
        /// In the chip set of `q35`.
        Itco,
    }
    /// What is done when a watchdog is not fed.
    WatchdogAction("kebab-case") {
        /// The machine is reset.
        Reset,
        /// The guest is asked to shut down.
        Shutdown,
        /// The machine is switched off.
        Poweroff,
        /// The machine is held.
        Pause,
        /// Nothing.
        None,
        /// The memory is written to a file.
        Dump,
        /// The guest gets a non-maskable interrupt.
        InjectNmi,
    }
}

fields! {
    /// What starts the machine.
    Firmware {
        /// BIOS or UEFI.
        r#type: value FirmwareType, "restart", FirmwareType::Bios;
        /// Whether only signed code is booted; needs `uefi` and `q35`.
        secure_boot: value bool, "restart", false;
        /// The file with the firmware's variables; chosen by the hypervisor and kept when left out.
        nvram: unmanaged String, "restart";
        /// The firmware's own file; chosen by the hypervisor when left out.
        loader: unmanaged String, "restart";
    }
    /// A trusted platform module.
    Tpm {
        /// The version of the standard.
        version: value TpmVersion, "restart", TpmVersion::V20;
    }
    /// Processors.
    Cpu {
        /// Sockets.
        #[schemars(range(min = 1, max = 64))]
        sockets: value u32, "restart", 1;
        /// Cores of each socket; more, up to `maxCores` in all, are added while the guest runs.
        #[schemars(range(min = 1, max = 1024))]
        cores: value u32, "restart", 1;
        /// Threads of each core.
        #[schemars(range(min = 1, max = 8))]
        threads: value u32, "restart", 1;
        /// How many processors (sockets x cores x threads) the guest can have without a restart; as many as it has
        /// when left out.
        #[schemars(range(min = 1, max = 4096))]
        max_cores: maybe u32, "restart";
        /// The model: `host`, or a name of QEMU's; under emulation `host` is everything QEMU can emulate.
        #[schemars(regex(pattern = r"^[A-Za-z0-9][-A-Za-z0-9_.]{0,63}$"))]
        #[schemars(extend("x-reeve-rule" = "host, or a model of QEMU's such as x86-64-v2-AES or EPYC"))]
        model: value String, "restart", "host".to_owned();
        /// At most this many processors' worth of time; no limit when left out.
        #[schemars(range(min = 0.01, max = 4096))]
        limit: maybe f64, "live";
        /// The share of time under contention, against the other guests' weights.
        #[schemars(range(min = 1, max = 10000))]
        weight: value u32, "live", 100;
        /// The host's processors it may use, such as `[0-1, 4]`; all when left out.
        pinning: list CpuRange, "live";
    }
    /// Memory.
    Memory {
        /// How much the guest has.
        size: value Size, "restart", Size::gib(1);
        /// How much it keeps when the host takes memory back with the balloon; `size` when left out.
        balloon_min: maybe Size, "none";
        /// How much it can have without a restart, given and taken with the balloon; `size` when left out.
        max: maybe Size, "restart";
        /// Whether there is a balloon.
        balloon: value bool, "restart", true;
        /// The host's pages that back it.
        hugepages: value Hugepages, "restart", Hugepages::None;
    }
    /// The channel to the QEMU guest agent.
    Agent {
        /// Whether there is one.
        enabled: value bool, "restart", true;
    }
    /// The screen, reached over the network.
    Display {
        /// How it is reached.
        r#type: value DisplayType, "restart", DisplayType::Vnc;
        /// The address it listens on.
        listen: value String, "restart", "127.0.0.1".to_owned();
        /// The port; the hypervisor picks a free one at each start when left out.
        #[schemars(range(min = 1024, max = 65535))]
        port: maybe u16, "restart";
        /// The password; none when left out.
        password: maybe SecretField, "restart";
    }
    /// The graphics card.
    Video {
        /// The model.
        model: value VideoModel, "restart", VideoModel::Virtio;
    }
    /// A source of random numbers.
    Rng {
        /// Whether there is one.
        enabled: value bool, "restart", true;
        /// The host's file it is fed from.
        source: value String, "restart", "/dev/urandom".to_owned();
    }
    /// A watchdog.
    Watchdog {
        /// The model.
        model: value WatchdogModel, "restart", WatchdogModel::I6300esb;
        /// What is done when it is not fed.
        action: value WatchdogAction, "restart", WatchdogAction::Reset;
    }
    /// What the firmware tells the guest about the machine.
    Smbios {
        /// Who made it.
        manufacturer: maybe String, "restart";
        /// What it is.
        product: maybe String, "restart";
        /// Its version.
        version: maybe String, "restart";
        /// Its serial number.
        serial: maybe String, "restart";
        /// Its stock number.
        sku: maybe String, "restart";
        /// Its family.
        family: maybe String, "restart";
    }
    /// What is booted.
    Boot {
        /// Disks and network cards in the order they are tried; instead of each one's `bootOrder`. Without either, the
        /// first disk.
        order: list Name, "restart";
        /// A kernel on the host to boot directly.
        kernel: maybe String, "restart";
        /// Its initial RAM disk on the host.
        initrd: maybe String, "restart";
        /// Its command line.
        cmdline: maybe String, "restart";
    }
    /// When a guest starts and stops among others.
    Startup {
        /// Guests with lower numbers start earlier and stop later; those without one come last.
        order: maybe u32, "none";
        /// How long to wait after its start before the next guest starts.
        up_delay: value Seconds, "none", Seconds(0);
        /// How long to wait after its stop before the next guest stops.
        down_delay: value Seconds, "none", Seconds(0);
    }
}

/// Processors of the host, `4` or `0-3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl std::fmt::Display for CpuRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl std::str::FromStr for CpuRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no processor or range of processors; write 4 or 0-3");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |t: &str| t.parse::<u32>().ok().filter(|n| *n < 8192).ok_or_else(bad);
        let (first, last) = (number(first)?, number(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(bad()) }
    }
}

impl Serialize for CpuRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CpuRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u32),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(n) => Ok(Self { first: n, last: n }),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for CpuRange {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CpuRange".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer"], "pattern": "^[0-9]{1,4}(-[0-9]{1,4})?$", "minimum": 0, "maximum": 8191,
            "x-reeve-rule": "a processor of the host or a range of them, such as 4 or 0-3"
        })
    }
}

impl Cpu {
    /// How many processors the guest has.
    pub fn count(&self) -> u32 {
        self.sockets().saturating_mul(self.cores()).saturating_mul(self.threads())
    }

    /// How many processors the guest can have without a restart.
    pub fn most(&self) -> u32 {
        self.max_cores.unwrap_or_else(|| self.count())
    }
}

impl Memory {
    /// How much the guest can have without a restart.
    pub fn most(&self) -> Size {
        self.max.unwrap_or_else(|| self.size())
    }
}
