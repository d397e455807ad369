//! The directory of a new system: filled by mmdebstrap, then freed of what two guests must not share.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Build, PATH, apart, files};
use crate::base::Fault;
use crate::base::fault::Attempt as _;
use crate::kinds::image::shelf::remove_file;
use crate::kinds::image::{ImageType, Variant};

/// What every disk has.
const DISK_PACKAGES: [&str; 14] = [
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "iproute2",
    "cloud-init",
    "sudo",
    "ca-certificates",
    "openssh-server",
];

/// What every container has.
const ROOTFS_PACKAGES: [&str; 6] = ["systemd-sysv", "systemd-resolved", "udev", "dbus", "iproute2", "ca-certificates"];

/// Directories that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

impl Build<'_, '_> {
    /// Installs the packages.
    pub(super) async fn bootstrap(&mut self, suite: &str, lines: &[String]) -> Result<(), Fault> {
        self.show("install packages");
        let before = self.dir.join("before");
        prepare(&before).attempt(|| format!("write below {}", before.display()))?;
        let parts = ["bin", "sbin", "lib", "lib64", "usr", "etc"].map(|part| escaped(&before.join(part)));
        apart("mmdebstrap")
            .args(["--mode=root", "--format=directory", "--quiet", "--dpkgopt=force-unsafe-io"])
            .arg(format!("--variant={}", self.source.variant.unwrap_or(Variant::Minbase).word()))
            .arg(format!("--setup-hook=copy-in {} /", parts.join(" ")))
            .arg(format!("--include={}", self.packages().join(",")))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--aptopt=Acquire::Retries \"3\"")
            .arg(suite)
            .arg(self.root())
            .args(lines)
            // INITRD=No keeps the kernel's package from making an initramfs that later packages would make again.
            .env("INITRD", "No")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("HOME", "/root")
            .env("TMPDIR", self.dir)
            .env("PATH", PATH)
            .run()
            .await?;
        Ok(())
    }

    fn packages(&self) -> Vec<&str> {
        let every: &[&str] = if self.spec.kind == ImageType::Disk { &DISK_PACKAGES } else { &ROOTFS_PACKAGES };
        let wanted = self.source.packages.iter().flatten().map(String::as_str);
        let mut packages: Vec<&str> = every.iter().copied().chain(wanted).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }

    /// Takes out what would make two guests of one image the same, and what only the build needed.
    pub(super) fn clean_tree(&mut self) -> Result<(), Fault> {
        self.show("clean up");
        let root = self.root();
        for file in [
            "etc/hostname",
            "etc/resolv.conf",
            "etc/apt/preferences.d/reeve-build",
            "etc/apt/apt.conf.d/99mmdebstrap",
            "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
            "var/lib/dbus/machine-id",
            "var/lib/systemd/random-seed",
        ] {
            remove_file(&root.join(file))?;
        }
        remove_matching(&root.join("etc/ssh"), |f| f.starts_with("ssh_host_"))?;
        remove_matching(&root.join("var/log"), |f| f.ends_with(".log"))?;
        let write = || {
            fs::write(root.join("etc/machine-id"), "")?;
            fs::write(root.join("etc/apt/apt.conf.d/90reeve"), files::APT)?;
            if root.join("lib/systemd/systemd-resolved").exists() {
                symlink("../run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf"))?;
            }
            Ok::<_, io::Error>(())
        };
        write().attempt(|| format!("write below {}", root.display()))
    }
}

/// What must be there before the first package.
fn prepare(before: &Path) -> io::Result<()> {
    for dir in MERGED {
        fs::create_dir_all(before.join("usr").join(dir))?;
        symlink(format!("usr/{dir}"), before.join(dir))?;
    }
    for (file, text) in [
        ("etc/dpkg/dpkg.cfg.d/reeve", files::DPKG),
        ("etc/apt/preferences.d/reeve-build", files::APT_PREFERENCES),
        ("etc/initramfs-tools/conf.d/reeve", files::INITRAMFS),
        ("etc/initramfs-tools/modules", files::INITRAMFS_MODULES),
    ] {
        put(before, file, text)?;
    }
    Ok(())
}

/// Writes a file and makes the directories it is in.
pub(super) fn put(root: &Path, file: &str, text: &str) -> io::Result<()> {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap_or(root))?;
    fs::write(path, text)
}

fn remove_matching(dir: &Path, which: impl Fn(&str) -> bool) -> Result<(), Fault> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&which) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

/// A path as mmdebstrap's own hooks take it: it splits words at spaces, and a backslash makes any sign a plain one.
fn escaped(path: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    path.to_string_lossy().chars().flat_map(|c| [Some('\\').filter(|_| !plain(c)), Some(c)]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_each() {
        assert_eq!(escaped(Path::new("/var/lib/reeve-1/x.y_z")), "/var/lib/reeve-1/x.y_z");
        assert_eq!(escaped(Path::new("/a b'$(x)")), "/a\\ b\\'\\$\\(x\\)");
    }
}
