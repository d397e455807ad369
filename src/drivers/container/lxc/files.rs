//! Files written into a guest's root file system: its name, whom it asks for names, and how its network is set up.
//!
//! The guest owns that tree and may have put a symbolic link anywhere. Every path is opened relative to the guest's
//! root with `RESOLVE_IN_ROOT`, so a link leads nowhere else; a file is replaced by rename, so one that is a link itself
//! is replaced, not followed.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use super::host::Ids;
use crate::base::{Attempt as _, Fault, Name};
use crate::kinds::container::{CtNic, CtSpec};

const START: &str = "# --- Reeve writes these lines, until the end mark. ---";
const END: &str = "# --- end ---";
const NETWORKD: &str = "10-reeve-";

/// A guest's root directory, opened.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    ids: Option<Ids>,
}

impl Root {
    /// Opens the root directory at `path` of this host.
    pub fn open(path: &Path, ids: Option<Ids>) -> Result<Self, Fault> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { fd: fd.map_err(std::io::Error::from).attempt(|| format!("opening {}", path.display()))?, ids })
    }

    /// Writes what the spec says into the files that are there to say it.
    pub fn settle(&self, spec: &CtSpec) -> Result<(), Fault> {
        let Some(etc) = self.dir("etc")? else { return Ok(()) };
        if let Some(hostname) = &spec.hostname {
            self.replace(&etc, "hostname", format!("{hostname}\n").as_bytes())?;
            self.splice(&etc, "hosts", &hosts(spec, hostname))?;
        }
        if !spec.nameservers.is_empty() || spec.searchdomain.is_some() {
            self.replace(&etc, "resolv.conf", resolv(spec).as_bytes())?;
        }
        if let Some(network) = self.dir("etc/network")?
            && !spec.nics.is_empty()
        {
            self.splice(&network, "interfaces", &interfaces(spec))?;
        }
        if let Some(network) = self.dir("etc/systemd/network")? {
            self.networkd(&network, spec)?;
        }
        Ok(())
    }

    /// Opens a directory in the guest; `None` where there is none.
    fn dir(&self, path: &str) -> Result<Option<OwnedFd>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(std::io::Error::from(error)).attempt(|| format!("opening /{path} in the guest")),
        }
    }

    /// Opens what is at a path in the guest, making directories and at last a directory or an empty file where missing.
    pub fn target(&self, path: &str, file: bool) -> Result<OwnedFd, Fault> {
        let doing = || format!("making {path} in the guest");
        let io = |e: Errno| std::io::Error::from(e);
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve)
        };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let mut here = open(".").map_err(io).attempt(doing)?;
        for depth in 1..=parts.len() {
            let so_far = parts[..depth].join("/");
            here = match open(&so_far) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    self.make(&here, parts[depth - 1], file && depth == parts.len()).map_err(io).attempt(doing)?;
                    open(&so_far).map_err(io).attempt(doing)?
                }
                Err(error) => return Err(io(error)).attempt(doing),
            };
        }
        Ok(here)
    }

    /// Makes an empty directory or file that belongs to the guest's root.
    fn make(&self, dir: &OwnedFd, name: &str, file: bool) -> Result<(), Errno> {
        let create = || {
            if !file {
                return rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755));
            }
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        };
        let (user, group) = self.owner();
        match create() {
            // A file system that the guest itself mounted knows only the guest's ids.
            Err(Errno::OVERFLOW) => as_user(user, group, create),
            Err(error) => Err(error),
            Ok(()) => rustix::fs::chownat(dir, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn owner(&self) -> (Uid, Gid) {
        let (user, group) = self.ids.map_or((0, 0), |i| (i.users.first, i.groups.first));
        (Uid::from_raw(user), Gid::from_raw(group))
    }

    /// What a regular file says; nothing where there is none.
    fn read(dir: &OwnedFd, name: &str) -> Vec<u8> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return Vec::new() };
        let file = std::fs::File::from(fd);
        let mut bytes = Vec::new();
        if file.metadata().is_ok_and(|m| m.is_file()) {
            // What cannot be read is written anew.
            let _ = file.take(1 << 20).read_to_end(&mut bytes);
        }
        bytes
    }

    /// Makes a file say exactly this; nothing when it does.
    fn replace(&self, dir: &OwnedFd, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        if Self::read(dir, name) == bytes {
            return Ok(());
        }
        let doing = || format!("writing {name} in the guest");
        let io = |e: Errno| std::io::Error::from(e);
        let fresh = format!(".{name}.reeve");
        match rustix::fs::unlinkat(dir, &fresh, AtFlags::empty()) {
            Err(Errno::NOENT) | Ok(()) => {}
            Err(error) => return Err(io(error)).attempt(doing),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, &fresh, flags, Mode::from_raw_mode(0o644)).map_err(io).attempt(doing)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes).attempt(doing)?;
        let (user, group) = self.owner();
        rustix::fs::fchown(&file, Some(user), Some(group)).map_err(io).attempt(doing)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644)).map_err(io).attempt(doing)?;
        rustix::fs::renameat(dir, &fresh, dir, name).map_err(io).attempt(doing)
    }

    /// Puts our lines into a file that others write too.
    fn splice(&self, dir: &OwnedFd, name: &str, lines: &str) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(&Self::read(dir, name)).into_owned();
        self.replace(dir, name, spliced(&text, lines).as_bytes())
    }

    fn networkd(&self, dir: &OwnedFd, spec: &CtSpec) -> Result<(), Fault> {
        for (name, nic) in &spec.nics {
            self.replace(dir, &format!("{NETWORKD}{name}.network"), unit(name, nic).as_bytes())?;
        }
        let doing = || "removing a network file in the guest";
        let list = rustix::fs::Dir::read_from(dir).map_err(std::io::Error::from).attempt(doing)?;
        for entry in list.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let nic = file.strip_prefix(NETWORKD).and_then(|n| n.strip_suffix(".network"));
            if nic.is_some_and(|n| !spec.nics.contains_key(n)) {
                rustix::fs::unlinkat(dir, &file, AtFlags::empty()).map_err(std::io::Error::from).attempt(doing)?;
            }
        }
        Ok(())
    }
}

/// Does something as another user, in this thread only.
fn as_user(user: Uid, group: Gid, work: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    set_thread_res_gid(None, group, None)?;
    let done = set_thread_res_uid(None, user, None).and_then(|()| {
        let done = work();
        // The real and the saved user are still root's, so this cannot be refused.
        set_thread_res_uid(None, Uid::ROOT, None).and(done)
    });
    set_thread_res_gid(None, Gid::ROOT, None).and(done)
}

/// A text with our lines in place of those we wrote before, or at its end.
fn spliced(text: &str, lines: &str) -> String {
    let block = format!("{START}\n{lines}{END}\n");
    if let Some((before, rest)) = text.split_once(&format!("{START}\n"))
        && let Some((_, after)) = rest.split_once(&format!("{END}\n"))
    {
        return format!("{before}{block}{after}");
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{gap}{block}")
}

fn hosts(spec: &CtSpec, hostname: &str) -> String {
    let short = hostname.split('.').next().unwrap_or(hostname);
    let mut names = vec![hostname.to_owned()];
    if let Some(domain) = spec.searchdomain.as_deref().and_then(|d| d.split(' ').next())
        && !hostname.contains('.')
    {
        names.insert(0, format!("{hostname}.{domain}"));
    }
    if short != hostname {
        names.push(short.to_owned());
    }
    let address = spec.nics.values().flat_map(|n| &n.addresses).find_map(|a| a.split('/').next());
    format!("{} {}\n", address.unwrap_or("127.0.1.1"), names.join(" "))
}

fn resolv(spec: &CtSpec) -> String {
    let mut text = "# Written by Reeve.\n".to_owned();
    if let Some(domain) = &spec.searchdomain {
        text += &format!("search {domain}\n");
    }
    for server in &spec.nameservers {
        text += &format!("nameserver {server}\n");
    }
    text
}

/// For ifupdown: LXC gives static addresses itself, before the guest starts.
fn interfaces(spec: &CtSpec) -> String {
    let mut text = String::new();
    for (name, nic) in &spec.nics {
        let word = |dhcp| if dhcp { "dhcp" } else { "manual" };
        text += &format!(
            "auto {name}\niface {name} inet {}\niface {name} inet6 {}\n",
            word(nic.dhcp4()),
            word(nic.dhcp6())
        );
    }
    text
}

/// For systemd-networkd.
fn unit(name: &Name, nic: &CtNic) -> String {
    let dhcp = match (nic.dhcp4(), nic.dhcp6()) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    let mut text = format!("# Written by Reeve.\n[Match]\nName={name}\n\n[Network]\nDHCP={dhcp}\n");
    for address in &nic.addresses {
        text += &format!("Address={address}\n");
    }
    for gateway in nic.gateway.iter().chain(&nic.gateway6) {
        text += &format!("Gateway={gateway}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CtSpec {
        let mut spec: CtSpec = serde_json::from_value(serde_json::json!({
            "hostname": "web", "searchdomain": "example.org", "nameservers": ["10.0.0.1"],
            "nics": {"eth0": {"addresses": ["10.0.0.5/24"], "gateway": "10.0.0.1"}, "eth1": {"dhcp4": true}}
        }))
        .unwrap();
        spec.fill();
        spec
    }

    #[test]
    fn files_say_what_the_spec_says() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["etc/network", "etc/systemd/network"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        std::fs::write(dir.path().join("etc/hosts"), "127.0.0.1 localhost").unwrap();
        std::fs::write(dir.path().join("etc/systemd/network/10-reeve-eth9.network"), "old").unwrap();
        let root = Root::open(dir.path(), None).unwrap();
        for _ in 0..2 {
            root.settle(&spec()).unwrap();
            let read = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
            assert_eq!(read("etc/hostname"), "web\n");
            assert_eq!(
                read("etc/hosts"),
                format!("127.0.0.1 localhost\n{START}\n10.0.0.5 web.example.org web\n{END}\n")
            );
            assert_eq!(read("etc/resolv.conf"), "# Written by Reeve.\nsearch example.org\nnameserver 10.0.0.1\n");
            assert!(read("etc/network/interfaces").contains("iface eth1 inet dhcp\n"));
            assert!(read("etc/systemd/network/10-reeve-eth1.network").contains("DHCP=ipv4\n"));
            assert!(!dir.path().join("etc/systemd/network/10-reeve-eth9.network").exists());
        }
    }

    #[test]
    fn links_of_the_guest_lead_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("resolv.conf"), "mine").unwrap();
        std::fs::write(outside.path().join("hosts"), "mine").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = |to: &Path, at: &str| std::os::unix::fs::symlink(to, dir.path().join(at)).unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        // The whole of /etc is a link upwards; in the guest's root it can only lead to the guest's own directory.
        link(Path::new("../../../real"), "etc");
        link(&outside.path().join("resolv.conf"), "real/resolv.conf");
        link(&outside.path().join("hosts"), "real/hosts");
        let root = Root::open(dir.path(), None).unwrap();
        root.settle(&spec()).unwrap();
        for file in ["resolv.conf", "hosts"] {
            assert_eq!(std::fs::read_to_string(outside.path().join(file)).unwrap(), "mine");
            assert!(dir.path().join("real").join(file).symlink_metadata().unwrap().is_file());
        }
        // A link that leads out of the root is absent, not followed.
        std::fs::remove_file(dir.path().join("etc")).unwrap();
        link(outside.path(), "etc");
        root.settle(&spec()).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 2);
    }
}
