//! A directory becomes a disk that boots by itself, with BIOS and with UEFI; nothing is mounted and no device is used.
//!
//! ```text
//! sector 0       GRUB's first stage and the partition table
//!        2048    partition 14: GRUB's core for BIOS, 1 MiB
//!        4096    partition 15: FAT with GRUB for UEFI, 8 MiB
//!        20480   partition 1: the root, ext4, up to the last MiB; a guest grows it
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};

use super::{Build, apart, durable, files, tree};
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind, Size};
use crate::kinds::image::{DebianSource, ImageFormat};

/// GRUB's first stage for BIOS.
pub const BIOS_FIRST: &str = "/usr/lib/grub/i386-pc/boot.img";
/// GRUB's modules for UEFI.
pub const UEFI_MODULES: &str = "/usr/lib/grub/x86_64-efi/normal.mod";

const SECTOR: u64 = 512;
const BIOS_START: u64 = 2048;
const BIOS_SECTORS: u64 = 2048;
const ESP_START: u64 = 4096;
const ESP_SECTORS: u64 = 16384;
const ROOT_START: u64 = 20480;
/// The last MiB holds the second partition table.
const TAIL: u64 = 2048;
/// Where GRUB's first stage has room for code.
const BOOT_CODE: usize = 440;
/// Where the first stage notes at which sector the core starts, and the core at which its rest does.
const CORE_SECTOR: u64 = 0x5c;
const REST_SECTOR: u64 = 0x1f4;
const MODULES: [&str; 12] = [
    "part_gpt",
    "part_msdos",
    "ext2",
    "search",
    "search_fs_uuid",
    "configfile",
    "normal",
    "linux",
    "echo",
    "test",
    "serial",
    "terminal",
];

impl Build<'_, '_> {
    /// Makes the disk of the finished directory.
    pub(super) async fn disk(&mut self) -> Result<PathBuf, Fault> {
        let uuid = uuid::Uuid::new_v4().to_string();
        let raw = self.dir.join("disk.raw");
        let mib = self.source.size.unwrap_or(DebianSource::DEFAULT_SIZE).bytes().div_ceil(1 << 20);
        self.show("configure");
        self.configure(&uuid)?;
        self.in_tree("systemctl", &["--quiet", "enable", "systemd-networkd"]).await?;
        // It looks for snapshots of logical volumes, which this disk never has, at every start.
        self.in_tree("systemctl", &["--quiet", "disable", "e2scrub_reap"]).await?;
        self.show("make the initramfs");
        self.initramfs().await?;
        self.show("make the partitions");
        partition(&raw, mib).await?;
        self.show("make the file system");
        self.file_system(&raw, &uuid, mib).await?;
        self.show("make it boot");
        let early = self.dir.join("early.cfg");
        fs::write(&early, files::GRUB_EARLY.replace("@UUID@", &uuid))
            .attempt(|| format!("write {}", early.display()))?;
        self.bios(&raw, &early).await?;
        self.uefi(&raw, &early).await?;
        self.show("write the image");
        self.finish(raw).await
    }

    fn configure(&self, uuid: &str) -> Result<(), Fault> {
        let root = self.root();
        let fstab = format!("UUID={uuid} / ext4 rw,errors=remount-ro,x-systemd.growfs 0 1\n");
        let grub = files::GRUB.replace("@UUID@", uuid);
        let wait = "etc/systemd/system/systemd-networkd-wait-online.service.d/reeve.conf";
        for (file, text) in [
            ("etc/cloud/cloud.cfg.d/90_reeve.cfg", files::CLOUD),
            ("etc/repart.d/50-root.conf", files::REPART),
            (wait, files::WAIT_ONLINE),
            ("etc/fstab", &fstab),
            ("boot/grub/grub.cfg", &grub),
        ] {
            tree::put(&root, file, text).attempt(|| format!("write {file} below {}", root.display()))?;
        }
        Ok(())
    }

    /// `/vmlinuz` and `/initrd.img` are Debian's links to the newest kernel: an upgrade moves them, and GRUB follows.
    async fn initramfs(&self) -> Result<(), Fault> {
        self.in_tree("update-initramfs", &["-c", "-k", "all"]).await?;
        let (kernel, initrd) = (self.root().join("vmlinuz"), self.root().join("initrd.img"));
        let link = || {
            let target = fs::read_link(&kernel)?.to_string_lossy().replace("vmlinuz", "initrd.img");
            match fs::remove_file(&initrd) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => symlink(target, &initrd),
            }
        };
        link().attempt(|| format!("link {}", initrd.display()))
    }

    /// The root's file system, without the two newer features that the release's GRUB cannot read.
    async fn file_system(&self, raw: &Path, uuid: &str, mib: u64) -> Result<(), Fault> {
        let root_mib = mib - (ROOT_START + TAIL) / 2048;
        let made = apart("mke2fs")
            .args(["-q", "-t", "ext4", "-F", "-U", uuid, "-L", "root", "-O", "^metadata_csum_seed,^orphan_file"])
            .args(["-E", &format!("offset={}", ROOT_START * SECTOR), "-d"])
            .arg(self.root())
            .arg(raw)
            .arg(format!("{root_mib}M"))
            .run()
            .await;
        made.map(|_| ()).map_err(|error| {
            let fault = Fault::from(error);
            if fault.message.contains("Could not allocate") || fault.message.contains("No space") {
                return Fault { kind: FaultKind::NoSpace, ..fault }
                    .help(format!("the packages do not fit into {}; give source.debian.size more", Size(mib << 20)));
            }
            fault
        })
    }

    async fn bios(&self, raw: &Path, early: &Path) -> Result<(), Fault> {
        let file = self.dir.join("core.img");
        apart("grub-mkimage")
            .args(["-O", "i386-pc", "-p", "/boot/grub", "-c"])
            .arg(early)
            .arg("-o")
            .arg(&file)
            .args(MODULES)
            .arg("biosdisk")
            .run()
            .await?;
        let core = fs::read(&file).attempt(|| format!("read {}", file.display()))?;
        if core.len() as u64 > BIOS_SECTORS * SECTOR {
            return Err(Fault::other(format!("GRUB's core has {} bytes, more than its partition", core.len())));
        }
        let boot = fs::read(BIOS_FIRST).attempt(|| format!("read {BIOS_FIRST}"))?;
        let write = |disk: &File| {
            disk.write_all_at(boot.get(..BOOT_CODE).unwrap_or(&boot), 0)?;
            disk.write_all_at(&BIOS_START.to_le_bytes(), CORE_SECTOR)?;
            disk.write_all_at(&core, BIOS_START * SECTOR)?;
            disk.write_all_at(&(BIOS_START + 1).to_le_bytes(), BIOS_START * SECTOR + REST_SECTOR)
        };
        let disk = OpenOptions::new().write(true).open(raw);
        disk.and_then(|disk| write(&disk)).attempt(|| format!("write GRUB to {}", raw.display()))
    }

    async fn uefi(&self, raw: &Path, early: &Path) -> Result<(), Fault> {
        let program = self.dir.join("BOOTX64.EFI");
        apart("grub-mkimage")
            .args(["-O", "x86_64-efi", "-p", "/boot/grub", "-c"])
            .arg(early)
            .arg("-o")
            .arg(&program)
            .args(MODULES)
            .run()
            .await?;
        let mut partition = raw.as_os_str().to_owned();
        partition.push(format!("@@{}", ESP_START * SECTOR));
        let sectors = ESP_SECTORS.to_string();
        apart("mformat").arg("-i").arg(&partition).args(["-T", &sectors, "-h", "64", "-s", "32", "::"]).run().await?;
        apart("mmd").arg("-i").arg(&partition).args(["::EFI", "::EFI/BOOT"]).run().await?;
        let to = "::EFI/BOOT/BOOTX64.EFI";
        apart("mcopy").arg("-i").arg(&partition).arg(&program).arg(to).run().await?;
        Ok(())
    }

    /// The disk in the format wanted, durable.
    async fn finish(&self, raw: PathBuf) -> Result<PathBuf, Fault> {
        let format = self.spec.format();
        let file = if format == ImageFormat::Raw {
            raw
        } else {
            let file = self.dir.join(format!("image.{}", format.word()));
            apart("qemu-img")
                .args(["convert", "-q", "-f", "raw", "-O", format.word(), "--"])
                .args([&raw, &file])
                .run()
                .await?;
            file
        };
        durable(&file)?;
        Ok(file)
    }
}

async fn partition(raw: &Path, mib: u64) -> Result<(), Fault> {
    let root = mib * 2048 - ROOT_START - TAIL;
    let table = format!(
        "label: gpt\n\
         14 : start={BIOS_START}, size={BIOS_SECTORS}, type=21686148-6449-6E6F-744E-656564454649\n\
         15 : start={ESP_START}, size={ESP_SECTORS}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
         1 : start={ROOT_START}, size={root}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n"
    );
    let make = || File::create(raw)?.set_len(mib << 20);
    make().attempt(|| format!("make {}", raw.display()))?;
    apart("sfdisk").args(["-q", "--no-reread", "--no-tell-kernel"]).arg(raw).input(table).run().await?;
    Ok(())
}
