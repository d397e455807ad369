//! The lines for the root file system, mounts and devices.
//!
//! What has to be mounted on the host first is mounted by hooks in the monitor's own mount namespace: nobody else sees
//! it, and the kernel undoes it, loop devices included, when the monitor is gone, however it went.
//!
//! ```text
//! lxc.hook.pre-start  = mount -o loop /srv/x/ct-web-rootfs.raw /var/lib/lxc/web/root
//! lxc.rootfs.path     = dir:/var/lib/lxc/web/root
//! lxc.hook.pre-start  = mount -o loop,ro /srv/x/ct-web-data.raw /var/lib/lxc/web/mounts/data
//! lxc.mount.entry     = /var/lib/lxc/web/mounts/data srv/data none bind,create=dir 0 0
//! lxc.hook.post-stop  = umount /var/lib/lxc/web/root
//! ```
//! LXC gives a hook to a shell: paths in it are quoted, and those that cannot be are refused.

use std::path::{Path, PathBuf};

use super::{Context, Lines};
use crate::base::{Fault, FaultKind, Name};
use crate::drivers::container::lxc::host::Host;
use crate::drivers::container::{Backing, Place, Record};
use crate::kinds::container::{CtSpec, Device, Mount, MountOption, Rootfs};

const PRE_START: &str = "lxc.hook.pre-start";
const POST_STOP: &str = "lxc.hook.post-stop";
const ENTRY: &str = "lxc.mount.entry";

pub fn write(context: &Context<'_>, lines: &mut Lines) -> Result<(), Fault> {
    let Context { name, record, host } = context;
    lines.put("lxc.monitor.unshare", "1");
    lines.put("lxc.hook.version", "1");
    let rootfs = record.spec.rootfs.clone().unwrap_or_default();
    write_rootfs(context, &rootfs, lines)?;
    for (mount, spec) in &record.spec.mounts {
        let missing = || Fault::new(FaultKind::Invalid, format!("mount {mount} of container {name} has no place"));
        let backing = record.mounts.get(mount).ok_or_else(missing)?;
        let point = host.paths.mount_point(name, mount);
        lines.put(PRE_START, mount_hook(&backing.place, spec.read_only(), &spec.mount_options, &point)?);
        lines.put(POST_STOP, unmount_hook(&point)?);
        let create = if matches!(backing.place, Place::File(_)) { "file" } else { "dir" };
        lines.put(ENTRY, entry(&point, spec.path.as_deref().unwrap_or_default(), create)?);
    }
    for (device, spec) in &record.spec.devices {
        let path = spec.path.as_deref().unwrap_or_default();
        lines.put(ENTRY, entry(&host.paths.device(name, device), path, "file")?);
        if let Some(node) = crate::drivers::container::lxc::device::rule(Path::new(path)) {
            lines.put("lxc.cgroup.devices.allow", &node);
            lines.put("lxc.cgroup2.devices.allow", node);
        }
    }
    Ok(())
}

fn write_rootfs(context: &Context<'_>, rootfs: &Rootfs, lines: &mut Lines) -> Result<(), Fault> {
    let Context { name, record, host } = context;
    let place = &record.rootfs.place;
    if place.is_device() {
        let point = host.paths.root_point(name);
        lines.put(PRE_START, mount_hook(place, rootfs.read_only(), &rootfs.mount_options, &point)?);
        lines.put(POST_STOP, unmount_hook(&point)?);
        lines.put("lxc.rootfs.path", format!("dir:{}", point.display()));
        return Ok(());
    }
    let path = place.path().display().to_string();
    lines.put("lxc.rootfs.path", if path.starts_with('/') { format!("dir:{path}") } else { path });
    let words = options(rootfs.read_only(), &rootfs.mount_options);
    if !words.is_empty() {
        lines.put("lxc.rootfs.options", words.join(","));
    }
    Ok(())
}

fn options(read_only: bool, options: &[MountOption]) -> Vec<&'static str> {
    read_only.then_some("ro").into_iter().chain(options.iter().map(|o| o.word())).collect()
}

/// What mount(8) is told of how to mount a place.
pub fn mount_words(place: &Place, read_only: bool, chosen: &[MountOption]) -> Vec<String> {
    let how = match place {
        Place::Image(_) => Some("loop"),
        Place::Block(_) => None,
        Place::Directory(_) | Place::File(_) => Some("bind"),
    };
    let words: Vec<&str> = how.into_iter().chain(options(read_only, chosen)).collect();
    if words.is_empty() { Vec::new() } else { vec!["-o".into(), words.join(",")] }
}

/// The command that mounts a place, as a line for LXC's hooks.
fn mount_hook(place: &Place, read_only: bool, chosen: &[MountOption], point: &Path) -> Result<String, Fault> {
    let with: String = mount_words(place, read_only, chosen).iter().map(|word| format!(" {word}")).collect();
    Ok(format!("mount{with} {} {}", quote(place.path())?, quote(point)?))
}

/// The command that takes it off again.
fn unmount_hook(point: &Path) -> Result<String, Fault> {
    Ok(format!("umount {}", quote(point)?))
}

fn quote(path: &Path) -> Result<String, Fault> {
    let refuse = || {
        let message = format!("the path {path:?} cannot stand in a hook of LXC's");
        Fault::new(FaultKind::Invalid, message).help("move it to a path without quotes and control characters")
    };
    let text = path.to_str().ok_or_else(refuse)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    if text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    if text.contains('\'') || text.chars().any(char::is_control) { Err(refuse()) } else { Ok(format!("'{text}'")) }
}

/// A line of LXC's mount table.
fn entry(source: &Path, target: &str, create: &str) -> Result<String, Fault> {
    let source = source.to_str().ok_or_else(|| Fault::new(FaultKind::Invalid, format!("{source:?} is not UTF-8")))?;
    Ok(format!("{} {} none bind,create={create} 0 0", escape(source), escape(target.trim_start_matches('/'))))
}

/// Text as a field of a mount table.
fn escape(text: &str) -> String {
    let one = |c: char| match c {
        ' ' | '\t' | '\n' | '\\' | '#' => format!("\\{:03o}", c as u32),
        _ => c.to_string(),
    };
    text.chars().map(one).collect()
}

fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|c| u8::from_str_radix(c, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

/// A hook of ours that mounts something.
struct Hook {
    place: Place,
    options: Vec<String>,
    point: PathBuf,
}

fn hook(line: &str) -> Option<Hook> {
    let mut words = super::lines::split_words(line.strip_prefix("mount ")?);
    let mut options: Vec<String> = Vec::new();
    if words.first().is_some_and(|w| w == "-o") && words.len() == 4 {
        options = words.remove(1).split(',').map(str::to_owned).collect();
        words.remove(0);
    }
    let [source, point] = <[String; 2]>::try_from(words).ok()?;
    let place: fn(PathBuf) -> Place = match options.first().map(String::as_str) {
        Some("loop") => Place::Image,
        Some("bind") => Place::Directory,
        _ => Place::Block,
    };
    let options = options.into_iter().filter(|o| o != "loop" && o != "bind").collect();
    Some(Hook { place: place(source.into()), options, point: point.into() })
}

pub fn read(lines: &mut Lines, name: &Name, record: Option<&Record>, host: &Host, spec: &mut CtSpec) -> Option<Place> {
    lines.has("lxc.monitor.unshare", "1");
    lines.has("lxc.hook.version", "1");
    let dir = host.paths.dir(name);
    let ours = |hook: &Hook| hook.point.starts_with(&dir);
    let hooks: Vec<Hook> = lines
        .take(|key, value| key == PRE_START && hook(value).as_ref().is_some_and(ours))
        .iter()
        .filter_map(|(_, value)| hook(value))
        .collect();
    lines.take(|key, value| {
        let point = value.strip_prefix("umount ").and_then(|v| super::lines::split_words(v).pop());
        key == POST_STOP && point.is_some_and(|p| Path::new(&p).starts_with(&dir))
    });
    let rootfs = read_rootfs(lines, name, record, host, &hooks, spec);
    read_devices(lines, name, record, host, spec);
    read_mounts(lines, name, record, host, &hooks, spec);
    rootfs
}

fn read_rootfs(
    lines: &mut Lines,
    name: &Name,
    record: Option<&Record>,
    host: &Host,
    hooks: &[Hook],
    spec: &mut CtSpec,
) -> Option<Place> {
    let path = lines.last("lxc.rootfs.path")?;
    let words = lines.last("lxc.rootfs.options").unwrap_or_default();
    let path = PathBuf::from(path.strip_prefix("dir:").unwrap_or(&path));
    let hook = hooks.iter().find(|h| h.point == host.paths.root_point(name) && h.point == path);
    let (place, words) = match hook {
        Some(hook) => (hook.place.clone(), hook.options.clone()),
        None => (Place::Directory(path), words.split(',').filter(|w| !w.is_empty()).map(str::to_owned).collect()),
    };
    let known = record.map(|r| &r.rootfs).filter(|b| b.place == place && b.storage.is_some());
    let mut rootfs = match known {
        Some(backing) => Rootfs {
            storage: backing.storage.clone(),
            size: backing.size,
            image: backing.image.clone(),
            ..Rootfs::default()
        },
        None => Rootfs { host_path: Some(place.path().display().to_string()), ..Rootfs::default() },
    };
    rootfs.read_only = Some(words.iter().any(|w| w == "ro"));
    rootfs.mount_options = words.iter().filter_map(|w| MountOption::of(w)).collect();
    rootfs.fill();
    spec.rootfs = Some(rootfs);
    Some(place)
}

fn read_mounts(
    lines: &mut Lines,
    name: &Name,
    record: Option<&Record>,
    host: &Host,
    hooks: &[Hook],
    spec: &mut CtSpec,
) {
    spec.mounts.clear();
    let points = host.paths.dir(name).join("mounts");
    let ours = |value: &str| source(value).is_some_and(|s| Path::new(&s).parent() == Some(&points));
    for (_, value) in lines.take(|key, value| key == ENTRY && ours(value)) {
        let (Some(point), Some(target)) = (source(&value), value.split(' ').nth(1)) else { continue };
        let Some(hook) = hooks.iter().find(|h| h.point == Path::new(&point)) else { continue };
        let mount = Path::new(&point).file_name().and_then(|n| Name::new(n.to_str()?).ok());
        let Some(mount) = mount else { continue };
        let backing = record.and_then(|r| r.mounts.get(&mount));
        let known = backing.filter(|b| b.place.path() == hook.place.path());
        let mut found = from_backing(known, hook);
        found.backup = record.and_then(|r| r.spec.mounts.get(&mount)).and_then(|m| m.backup);
        found.path = Some(format!("/{}", unescape(target)));
        found.read_only = Some(hook.options.iter().any(|o| o == "ro"));
        found.mount_options = hook.options.iter().filter_map(|o| MountOption::of(o)).collect();
        found.fill();
        spec.mounts.insert(mount, found.into());
    }
}

/// Where a mount comes from, as a manifest says it: what the record knows of the same place, else a path of the host.
fn from_backing(known: Option<&Backing>, hook: &Hook) -> Mount {
    match known {
        Some(Backing { resource: Some(volume), .. }) => Mount { volume: Some(volume.clone()), ..Mount::default() },
        Some(Backing { storage: Some(storage), size, .. }) => {
            Mount { storage: Some(storage.clone()), size: *size, ..Mount::default() }
        }
        _ => Mount { host_path: Some(hook.place.path().display().to_string()), ..Mount::default() },
    }
}

fn source(value: &str) -> Option<String> {
    value.split(' ').next().map(unescape)
}

fn read_devices(lines: &mut Lines, name: &Name, record: Option<&Record>, host: &Host, spec: &mut CtSpec) {
    spec.devices.clear();
    let nodes = host.paths.dir(name).join("devices");
    let ours = |value: &str| source(value).is_some_and(|s| Path::new(&s).parent() == Some(&nodes));
    for (_, value) in lines.take(|key, value| key == ENTRY && ours(value)) {
        let (Some(node), Some(target)) = (source(&value), value.split(' ').nth(1)) else { continue };
        let device = Path::new(&node).file_name().and_then(|n| Name::new(n.to_str()?).ok());
        let Some(device) = device else { continue };
        let known = record.and_then(|r| r.spec.devices.get(&device)).cloned().unwrap_or_default();
        let mut found = Device { path: Some(format!("/{}", unescape(target))), ..*known };
        found.fill();
        spec.devices.insert(device, found.into());
    }
    let rules: Vec<String> = spec
        .devices
        .values()
        .chain(record.iter().flat_map(|r| r.spec.devices.values()))
        .filter_map(|d| crate::drivers::container::lxc::device::rule(Path::new(d.path.as_deref()?)))
        .collect();
    lines.take(|key, value| {
        matches!(key, "lxc.cgroup.devices.allow" | "lxc.cgroup2.devices.allow") && rules.iter().any(|r| r == value)
    });
}
