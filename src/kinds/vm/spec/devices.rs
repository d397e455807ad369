//! Disks, network cards and devices of the host.

use super::words;
use crate::base::{Name, Rate, Size};
use crate::drivers::storage::Format;
use crate::kinds::fields::fields;

words! {
    /// What a disk looks like to the guest.
    Media("lowercase") {
        /// A hard disk.
        Disk,
        /// An optical drive.
        Cdrom,
    }
    /// What a disk hangs on.
    Bus("lowercase") {
        /// virtio-blk
        Virtio,
        /// virtio-scsi
        Scsi,
        /// AHCI
        Sata,
        /// IDE, for `pc`.
        Ide,
        /// USB
        Usb,
    }
    /// How the host caches a disk.
    Cache("lowercase") {
        /// Past the host's cache.
        None,
        /// Written through at once.
        Writethrough,
        /// Written when the guest flushes.
        Writeback,
        /// Past the host's cache, written at once.
        Directsync,
        /// Flushes are ignored: data is lost in a crash.
        Unsafe,
    }
    /// How QEMU does input and output.
    Io("lowercase") {
        /// With threads.
        Threads,
        /// With the kernel's asynchronous calls; needs a cache that goes past the host's.
        Native,
        /// With io_uring.
        #[serde(rename = "io_uring")]
        IoUring,
    }
    /// What becomes of a volume when its disk is taken out of the manifest.
    OnRemove("lowercase") {
        /// It is detached and kept, and listed as an orphan.
        Detach,
        /// The same; says that it is meant to be kept.
        Retain,
    }
    /// The model of a network card.
    NicModel("lowercase") {
        /// virtio-net
        Virtio,
        /// Intel Gigabit.
        E1000,
        /// Intel Gigabit, newer.
        E1000e,
        /// Realtek.
        Rtl8139,
        /// VMware.
        Vmxnet3,
    }
}

fields! {
    /// A disk or an optical drive.
    Disk {
        /// A hard disk or an optical drive.
        media: value Media, "restart", Media::Disk;
        /// The storage that keeps the disk; it is made there with the guest.
        storage: maybe Name, "migrate";
        /// How large it is; a disk only ever grows.
        size: unmanaged Size, "live";
        /// How its bytes are laid out; the storage's preferred format when left out.
        format: unmanaged Format, "migrate";
        /// The image it starts as a copy of, or the medium in the drive. A new image changes no disk that is there.
        image: maybe Name, "live";
        /// A Volume to attach, instead of a disk of the guest's own.
        volume: maybe Name, "restart";
        /// A file or block device of the host that is attached as it is; Reeve never makes, grows or deletes it.
        #[schemars(length(max = 4096))]
        path: maybe String, "restart";
        /// What it hangs on; `sata` for an optical drive when left out (`ide` on `pc`).
        bus: maybe Bus, "restart";
        /// How the host caches it.
        cache: value Cache, "restart", Cache::None;
        /// How QEMU does input and output.
        io: maybe Io, "restart";
        /// Whether space the guest frees is given back.
        discard: value bool, "restart", false;
        /// Whether it has a thread of its own; for `virtio` and `scsi`.
        iothread: value bool, "restart", false;
        /// Whether the guest is told that it does not rotate; for `scsi`, `sata` and `ide`.
        ssd: value bool, "restart", false;
        /// The serial number the guest sees.
        #[schemars(regex(pattern = r"^[A-Za-z0-9_.+-]{1,36}$"))]
        #[schemars(extend("x-reeve-rule" = "1 to 36 letters, digits and _ . + -"))]
        serial: maybe String, "restart";
        /// Whether the guest may only read it.
        read_only: value bool, "restart", false;
        /// How fast it may be; no limits when left out.
        limits: section Limits, "live";
        /// Its place in the boot order, 1 first.
        #[schemars(range(min = 1, max = 99))]
        boot_order: maybe u32, "restart";
        /// Whether backups contain it.
        backup: value bool, "none", true;
        /// What becomes of its volume when it is taken out of the manifest; it is never deleted by that.
        on_remove: value OnRemove, "none", OnRemove::Detach;
    }
    /// How fast a disk may be; a total and its parts exclude each other.
    Limits {
        /// Operations per second.
        #[schemars(range(min = 1))]
        iops: maybe u64, "live";
        /// Reads per second.
        #[schemars(range(min = 1))]
        iops_read: maybe u64, "live";
        /// Writes per second.
        #[schemars(range(min = 1))]
        iops_write: maybe u64, "live";
        /// Bytes per second.
        bandwidth: maybe Size, "live";
        /// Bytes read per second.
        bandwidth_read: maybe Size, "live";
        /// Bytes written per second.
        bandwidth_write: maybe Size, "live";
    }
    /// A network card.
    Nic {
        /// The Network it is connected to.
        network: maybe Name, "live";
        /// The model.
        model: value NicModel, "live", NicModel::Virtio;
        /// The hardware address; follows from the guest's UID and the card's name, and is kept, when left out.
        #[schemars(regex(pattern = r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$"))]
        #[schemars(extend("x-reeve-rule" = "six pairs of hexadecimal digits with colons, such as 52:54:00:12:34:56"))]
        mac: unmanaged String, "live";
        /// The VLAN it is in; untagged when left out.
        #[schemars(range(min = 1, max = 4094))]
        vlan: maybe u16, "live";
        /// The largest packet; the network's own when left out.
        #[schemars(range(min = 68, max = 65535))]
        mtu: maybe u32, "live";
        /// How fast it may send and receive; no limit when left out.
        rate: maybe Rate, "live";
        /// How many queues; for `virtio`.
        #[schemars(range(min = 1, max = 64))]
        queues: value u32, "live", 1;
        /// Whether the cable is plugged in.
        link_up: value bool, "live", true;
        /// Its place in the boot order, 1 first.
        #[schemars(range(min = 1, max = 99))]
        boot_order: maybe u32, "restart";
    }
    /// A USB device of the host: `vendor` and `product`, or `bus` and `device`.
    Usb {
        /// The vendor's number, four hexadecimal digits.
        #[schemars(regex(pattern = r"^[0-9a-f]{4}$"))]
        #[schemars(extend("x-reeve-rule" = "four hexadecimal digits in lower case, in quotes, such as \"046d\""))]
        vendor: maybe String, "live";
        /// The product's number, four hexadecimal digits.
        #[schemars(regex(pattern = r"^[0-9a-f]{4}$"))]
        #[schemars(extend("x-reeve-rule" = "four hexadecimal digits in lower case, in quotes, such as \"c52b\""))]
        product: maybe String, "live";
        /// The number of the bus.
        #[schemars(range(min = 1, max = 999))]
        bus: maybe u32, "live";
        /// The number of the device on the bus.
        #[schemars(range(min = 1, max = 999))]
        device: maybe u32, "live";
    }
    /// A PCI device of the host.
    Pci {
        /// Where it is, `0000:01:00.0`.
        #[schemars(regex(pattern = r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$"))]
        #[schemars(extend("x-reeve-rule" = "domain:bus:slot.function in lower-case hexadecimal, such as 0000:01:00.0"))]
        address: maybe String, "restart";
        /// Whether the guest sees its ROM.
        rom_bar: value bool, "restart", true;
    }
}

impl Disk {
    /// What it hangs on in a machine of this type.
    pub fn bus_on(&self, machine: &str) -> Bus {
        self.bus.unwrap_or(match self.media() {
            Media::Disk => Bus::Virtio,
            Media::Cdrom if machine == "pc" || machine.starts_with("pc-i440fx") => Bus::Ide,
            Media::Cdrom => Bus::Sata,
        })
    }
}
