//! The lines for what sort of guest it is: privileges, name, features, first program, environment.

use std::collections::BTreeMap;

use super::lines::{join_words, split_words};
use super::{Context, Lines};
use crate::base::{Fault, Name};
use crate::drivers::container::lxc::host::Host;
use crate::kinds::container::{Arch, CtSpec, Features};

const COMMON: &str = "/usr/share/lxc/config/common.conf";
const USERNS: &str = "/usr/share/lxc/config/userns.conf";
const NESTING: &str = "/usr/share/lxc/config/nesting.conf";
const FUSE: &str = "/dev/fuse dev/fuse none bind,create=file,optional 0 0";
const FUSE_NODE: &str = "c 10:229 rwm";

/// The system calls a guest may not make; the same that LXC's own list has, and the key rings.
pub const SECCOMP: &str = "2\ndenylist\nreject_force_umount\n[all]\nkexec_load errno 1\nopen_by_handle_at errno 1\n\
                           init_module errno 1\nfinit_module errno 1\ndelete_module errno 1\n\
                           keyctl errno 38\nadd_key errno 38\nrequest_key errno 38\n";

pub fn write(context: &Context<'_>, lines: &mut Lines) -> Result<(), Fault> {
    let Context { name, record, host } = context;
    let spec = &record.spec;
    lines.put("lxc.include", COMMON);
    if spec.unprivileged() {
        lines.put("lxc.include", USERNS);
        let ids = host.ids.clone()?;
        lines.put("lxc.idmap", format!("u 0 {} {}", ids.users.first, ids.users.count));
        lines.put("lxc.idmap", format!("g 0 {} {}", ids.groups.first, ids.groups.count));
    }
    features(context, spec.features(), lines);
    if let Some(arch) = spec.arch {
        lines.put("lxc.arch", arch_word(arch));
    }
    if let Some(hostname) = &spec.hostname {
        lines.put("lxc.uts.name", hostname);
    }
    for (key, value) in spec.env() {
        lines.put("lxc.environment", format!("{key}={value}"));
    }
    if !spec.entrypoint.is_empty() {
        lines.put("lxc.init.cmd", join_words(&spec.entrypoint)?);
        // A program that is no init knows no other signal to end on.
        lines.put("lxc.signal.halt", "SIGTERM");
    }
    lines.put("lxc.log.file", host.paths.log(name).display().to_string());
    lines.put("lxc.log.level", "DEBUG");
    Ok(())
}

fn features(context: &Context<'_>, features: Features, lines: &mut Lines) {
    let Context { name, record, host } = context;
    let privileged = !record.spec.unprivileged();
    if features.nesting() {
        lines.put("lxc.include", NESTING);
        lines.put("lxc.apparmor.allow_nesting", "1");
    }
    lines.put("lxc.apparmor.profile", "generated");
    if !features.keyctl() {
        lines.put("lxc.seccomp.profile", host.paths.seccomp(name).display().to_string());
    }
    if features.fuse() {
        lines.put("lxc.mount.entry", FUSE);
    } else if privileged {
        lines.put("lxc.cgroup.devices.deny", FUSE_NODE);
        lines.put("lxc.cgroup2.devices.deny", FUSE_NODE);
    }
    if privileged && !features.mknod() {
        lines.put("lxc.cap.drop", "mknod");
    }
}

pub fn read(lines: &mut Lines, name: &Name, host: &Host, spec: &mut CtSpec) {
    lines.has("lxc.include", COMMON);
    lines.has("lxc.include", USERNS);
    let mapped = !lines.take(|key, _| key == "lxc.idmap").is_empty();
    spec.unprivileged = Some(mapped);
    let nested = lines.has("lxc.include", NESTING);
    let allowed = lines.has("lxc.apparmor.allow_nesting", "1");
    lines.has("lxc.apparmor.profile", "generated");
    let no_keyctl = lines.has("lxc.seccomp.profile", &host.paths.seccomp(name).display().to_string());
    let fuse = lines.has("lxc.mount.entry", FUSE);
    let denied = [lines.has("lxc.cgroup.devices.deny", FUSE_NODE), lines.has("lxc.cgroup2.devices.deny", FUSE_NODE)];
    let no_mknod = lines.has("lxc.cap.drop", "mknod");
    spec.features = Some(Features {
        nesting: Some(nested || allowed),
        fuse: Some(fuse || (!mapped && denied == [false, false])),
        keyctl: Some(!no_keyctl),
        mknod: Some(!mapped && !no_mknod),
    });
    spec.arch = lines.last("lxc.arch").and_then(|word| arch(&word));
    spec.hostname = lines.last("lxc.uts.name");
    let env: BTreeMap<String, String> = lines
        .take(|key, value| key == "lxc.environment" && value.contains('='))
        .into_iter()
        .filter_map(|(_, value)| value.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    spec.env = Some(env);
    spec.entrypoint = lines.last("lxc.init.cmd").map(|value| split_words(&value)).unwrap_or_default();
    if !spec.entrypoint.is_empty() {
        lines.has("lxc.signal.halt", "SIGTERM");
    }
    lines.has("lxc.log.file", &host.paths.log(name).display().to_string());
    lines.has("lxc.log.level", "DEBUG");
}

fn arch_word(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "amd64",
        Arch::I386 => "i686",
        Arch::Arm64 => "arm64",
        Arch::Armhf => "armhf",
        Arch::Ppc64el => "ppc64el",
        Arch::Riscv64 => "riscv64",
        Arch::S390x => "s390x",
    }
}

fn arch(word: &str) -> Option<Arch> {
    Some(match word {
        "amd64" | "x86_64" | "linux64" => Arch::Amd64,
        "i686" | "i386" | "i586" | "i486" | "x86" | "linux32" => Arch::I386,
        "arm64" | "aarch64" => Arch::Arm64,
        "armhf" | "armv7l" | "arm" | "armel" => Arch::Armhf,
        "ppc64el" | "ppc64le" => Arch::Ppc64el,
        "riscv64" => Arch::Riscv64,
        "s390x" => Arch::S390x,
        _ => return None,
    })
}
