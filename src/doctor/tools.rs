//! Programs, each with the Debian package that has it.

use std::path::Path;

use super::{Finding, State};
use crate::base::exec;

/// What has to be there for something, and the package it is in: a program's name, or a file's whole path.
pub type Needs = [(&'static str, &'static str)];

/// What images are looked into and built with.
const IMAGES: &Needs = &[("qemu-img", "qemu-utils")];
const BUILD: &Needs = &[
    ("mmdebstrap", "mmdebstrap"),
    ("tar", "tar"),
    ("setpriv", "util-linux"),
    ("sfdisk", "fdisk"),
    ("mke2fs", "e2fsprogs"),
    ("mformat", "mtools"),
    ("grub-mkimage", "grub-common"),
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    ("/usr/lib/grub/x86_64-efi/normal.mod", "grub-efi-amd64-bin"),
];
const SEED: &Needs = &[("genisoimage", "genisoimage")];

/// The tools for images.
pub fn images() -> Vec<Finding> {
    vec![
        needs("image-tools", "Tools for disk images", State::Fail, IMAGES),
        needs("image-build", "Tools to build images from Debian packages", State::Warn, BUILD),
        needs("seed-tools", "Tools for cloud-init seeds", State::Warn, SEED),
    ]
}

/// Whether all of it is there.
pub fn needs(id: &'static str, title: &str, state: State, needs: &Needs) -> Finding {
    let there = |what: &str| if what.starts_with('/') { Path::new(what).exists() } else { exec::find(what).is_some() };
    let missing: Vec<(&str, &str)> = needs.iter().copied().filter(|(what, _)| !there(what)).collect();
    if missing.is_empty() {
        return Finding::ok(id, title, list(needs.iter().map(|(what, _)| *what), ", "));
    }
    let found = format!("{} not found", list(missing.iter().map(|(what, _)| *what), ", "));
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Finding::bad(id, title, state, found, install(&packages))
}

fn list<'a>(words: impl Iterator<Item = &'a str>, between: &str) -> String {
    words.collect::<Vec<_>>().join(between)
}

/// How packages are installed.
pub fn install(packages: &[&str]) -> String {
    format!("apt-get install {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let found =
            needs("x", "X", State::Fail, &[("sh", "dash"), ("no-such-program", "some-package"), ("/no/such", "other")]);
        assert_eq!(found.state, State::Fail);
        assert_eq!(found.found, "no-such-program, /no/such not found");
        assert_eq!(found.advice.as_deref(), Some("apt-get install some-package other"));
        let found = needs("x", "X", State::Fail, &[("sh", "dash"), ("/proc/self", "linux")]);
        assert_eq!((found.state, found.found.as_str(), found.advice), (State::Ok, "sh, /proc/self", None));
    }
}
