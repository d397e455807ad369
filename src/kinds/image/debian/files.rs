//! Small files that a built image has in it.

/// Documentation, manual pages and translations, which no guest reads.
pub const DPKG: &str = include_str!("files/dpkg.cfg");

/// Takes the empty package that says /usr is merged instead of the one that merges it, since it is merged from the start.
pub const APT_PREFERENCES: &str = "Package: usrmerge\nPin: release *\nPin-Priority: -1\n";

/// No translations of package descriptions.
pub const APT: &str = "Acquire::Languages \"none\";\n";

/// The root's file system, which the initramfs cannot find out while it is built, and only the modules that are named.
pub const INITRAMFS: &str = "FSTYPE=ext4\nMODULES=list\n";

/// What a disk can hang on in a virtual machine: everything that a manifest's `bus` can say, and NVMe.
pub const INITRAMFS_MODULES: &str = include_str!("files/modules.list");

/// What cloud-init does.
pub const CLOUD: &str = include_str!("files/cloud.cfg");

/// Grows the root partition to the disk's end at every start.
pub const REPART: &str = "[Partition]\nType=root\n";

/// One interface with an address is enough to be online.
pub const WAIT_ONLINE: &str =
    "[Service]\nExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30\n";

/// Finds the root and reads its menu; `@UUID@` is the root's.
pub const GRUB_EARLY: &str = include_str!("files/early.cfg");

/// Starts the newest kernel, with a console on screen and serial line; `@UUID@` is the root's.
pub const GRUB: &str = include_str!("files/grub.cfg");
