//! Everything about a container's manifest that can be known offline, each problem with its place.

mod mounts;
mod nics;

use super::spec::CtSpec;
use crate::base::{Name, Size};
use crate::kinds::{Claim, Report, Scope};

/// The least memory a guest can have.
const LEAST_MEMORY: Size = Size::mib(16);
/// The kernel counts memory in pages.
const PAGE: u64 = 4096;

/// Reports every problem of one manifest.
pub(super) fn check(_name: &Name, spec: &CtSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    texts(spec, report);
    memory(spec, report);
    program(spec, report);
    features(spec, report);
    devices(spec, report);
    mounts::rootfs(spec, scope, report);
    mounts::mounts(spec, scope, report);
    nics::check(spec, scope, report);
}

/// What this container takes for itself alone.
pub(super) fn claims(spec: &CtSpec) -> Vec<Claim> {
    let mut claims = nics::claims(spec);
    for (name, mount) in &spec.mounts {
        let volume = mount.volume.as_ref();
        claims.extend(volume.map(|volume| Claim::volume(volume, format!("mounts.{name}.volume"))));
    }
    claims
}

/// Whether a text is one line that a configuration file can carry.
fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Reports a path that is not absolute or cannot be passed on.
fn absolute(path: &str, at: &str, report: &mut Report<'_>) -> bool {
    let up = path.split('/').any(|part| part == ".." || part == ".");
    let quotes = path.contains(['\'', '"']);
    let good = path.starts_with('/') && path.len() <= 4096 && path.trim() == path && is_line(path) && !up && !quotes;
    if !good {
        let help = "write the whole path from /, without .. and quotes";
        report.error("ct/path", at, format!("{path:?} is no absolute path that can be passed on"), help);
    }
    good
}

fn texts(spec: &CtSpec, report: &mut Report<'_>) {
    let lines = |text: &str| text.split(['\n', '\t']).all(is_line);
    if spec.description.as_deref().is_some_and(|d| !lines(d)) {
        let help = "write lines without other control characters";
        report.error("ct/text", "description", "the description has characters that cannot be kept", help);
    }
    for tag in &spec.tags {
        if tag.is_empty() || tag.chars().count() > 128 || !is_line(tag) || tag.chars().any(char::is_whitespace) {
            let help = "write 1 to 128 characters without spaces";
            report.error("ct/tag", "tags", format!("{tag:?} cannot be a tag"), help);
        }
    }
    for server in &spec.nameservers {
        if server.parse::<std::net::IpAddr>().is_err() {
            let help = "write an address such as 10.40.0.1 or fd00::1";
            report.error("ct/nameserver", "nameservers", format!("{server:?} is no IP address"), help);
        }
    }
    if spec.hostname.as_deref().is_some_and(|h| h.split('.').any(|part| part.is_empty() || part.len() > 63)) {
        let help = "write at most 63 characters between the dots, and no two dots together";
        report.error("ct/hostname", "hostname", "the host name has a part that is empty or too long", help);
    }
}

fn memory(spec: &CtSpec, report: &mut Report<'_>) {
    let memory = spec.memory();
    if let Some(size) = memory.size.filter(|size| *size < LEAST_MEMORY) {
        let message = format!("memory.size is {size}, and the least is {LEAST_MEMORY}");
        report.error("ct/memory-too-small", "memory.size", message, format!("give it at least {LEAST_MEMORY}"));
    }
    for (field, value) in [("size", memory.size), ("swap", memory.swap)] {
        if value.is_some_and(|v| v.bytes() % PAGE != 0) {
            let message = format!("memory.{field} is not a whole number of pages of 4Ki");
            report.error("ct/memory-uneven", &format!("memory.{field}"), message, "write it with Mi or Gi");
        }
    }
    if memory.swap.is_some() && memory.size.is_none() {
        let help = "set memory.size, or leave memory.swap out";
        report.error("ct/swap-needs-size", "memory.swap", "swap is limited together with memory only", help);
    }
}

fn program(spec: &CtSpec, report: &mut Report<'_>) {
    for (name, value) in spec.env() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good = name.chars().all(word) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !good {
            let help = "use letters, digits and _, and no digit first";
            report.error("ct/env-name", &format!("env.{name}"), format!("{name:?} cannot name a variable"), help);
        }
        if !is_line(&value) {
            let message = format!("the value of {name} has line breaks or control characters");
            report.error("ct/env-value", &format!("env.{name}"), message, "LXC passes single lines only; use a file");
        }
    }
    let Some(first) = spec.entrypoint.first() else { return };
    if !first.starts_with('/') {
        let message = format!("{first:?} is not the whole path of a program");
        report.error("ct/entrypoint", "entrypoint", message, "write it from /, such as /usr/bin/nginx");
    }
    if spec.entrypoint.iter().any(|word| !is_line(word) || (word.contains('"') && word.contains('\''))) {
        let help = "put the command into a script in the container, and name the script";
        let message = "an argument has both sorts of quotes, or control characters, and LXC cannot be given it";
        report.error("ct/entrypoint", "entrypoint", message, help);
    }
}

fn features(spec: &CtSpec, report: &mut Report<'_>) {
    if spec.unprivileged() && spec.features().mknod() {
        let help = "leave it out; give the guest the device it needs under `devices`";
        let message = "a container without privileges can never make device nodes";
        report.error("ct/mknod-unprivileged", "features.mknod", message, help);
    }
}

fn devices(spec: &CtSpec, report: &mut Report<'_>) {
    let mut seen = std::collections::BTreeMap::new();
    for (name, device) in &spec.devices {
        let at = format!("devices.{name}");
        let Some(path) = &device.path else {
            report.error("ct/device-path", &at, format!("{at} has no path"), "name the device, such as /dev/net/tun");
            continue;
        };
        let path_at = format!("{at}.path");
        if !absolute(path, &path_at, report) {
            continue;
        }
        if !path.starts_with("/dev/") {
            let message = format!("{path} is not below /dev");
            report.error("ct/device-path", &path_at, message, "name a device below /dev; use mounts for other files");
        }
        if let Some(other) = seen.insert(path.clone(), name) {
            let message = format!("{path} is given to the guest already, as devices.{other}");
            report.error("ct/device-twice", &path_at, message, "keep one of them");
        }
    }
}
