//! How QEMU reaches a disk's bytes: an [`Attachment`] as a disk's type, driver format and source, and back.

use std::path::PathBuf;

use super::{Element, from_word, word};
use crate::base::{Fault, FaultKind};
use crate::drivers::storage::{Attachment, Format};

const RBD_PORT: &str = "6789";
const ISCSI_PORT: &str = "3260";
const GLUSTER_PORT: &str = "24007";

/// Makes the disk say how its bytes are reached; nothing is an empty drive.
pub fn apply(disk: &mut Element<'_>, attachment: Option<&Attachment>) -> Result<(), Fault> {
    let (kind, source) = match attachment {
        None => ("file", None),
        Some(attachment) => {
            let (kind, source) = source(attachment)?;
            (kind, Some(source))
        }
    };
    disk.set("type", kind);
    let format = attachment.map_or(Format::Raw, format);
    disk.entry("driver").set("name", "qemu");
    disk.entry("driver").set("type", word(format));
    disk.remove_all("backingStore");
    disk.replace_all("source", source);
    Ok(())
}

/// The format of what is attached.
pub fn format(attachment: &Attachment) -> Format {
    match attachment {
        Attachment::File { format, .. } | Attachment::Gluster { format, .. } => *format,
        Attachment::Block { .. } | Attachment::Directory { .. } | Attachment::Rbd { .. } | Attachment::Iscsi { .. } => {
            Format::Raw
        }
    }
}

fn source(attachment: &Attachment) -> Result<(&'static str, Element<'static>), Fault> {
    let source = Element::new("source");
    Ok(match attachment {
        Attachment::File { path, .. } => ("file", source.with("file", text(path)?)),
        Attachment::Block { path } => ("block", source.with("dev", text(path)?)),
        Attachment::Directory { path } => {
            let said = format!("{} is a directory, which no virtual machine can have as a disk", path.display());
            return Err(Fault::new(FaultKind::Invalid, said).help("keep the disk on a storage that has images"));
        }
        Attachment::Rbd { name, monitors, user, secret } => {
            let mut source = source.with("protocol", "rbd").with("name", name);
            source = source.children_from(monitors.iter().map(|m| host(m, Some(RBD_PORT))));
            if let Some(user) = user {
                let mut auth = Element::new("auth").with("username", user);
                if let Some(secret) = secret {
                    auth.push(Element::new("secret").with("type", "ceph").with("uuid", secret));
                }
                source.push(auth);
            }
            ("network", source)
        }
        Attachment::Iscsi { portal, target, lun } => {
            let name = [target.as_str(), &lun.to_string()].join("/");
            let source = source.with("protocol", "iscsi").with("name", name);
            ("network", source.child(host(portal, Some(ISCSI_PORT))))
        }
        Attachment::Gluster { name, hosts, .. } => {
            let source = source.with("protocol", "gluster").with("name", name);
            ("network", source.children_from(hosts.iter().map(|h| host(h, Some(GLUSTER_PORT)))))
        }
    })
}

fn text(path: &std::path::Path) -> Result<&str, Fault> {
    path.to_str().ok_or_else(|| {
        Fault::new(FaultKind::Invalid, format!("the path {} is not UTF-8, which libvirt needs", path.display()))
            .help("rename the file")
    })
}

/// A host element of `name`, `name:port`, or `[address]:port`.
fn host(text: &str, port: Option<&str>) -> Element<'static> {
    let (name, given) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => (name, Some(port)),
            _ => (text, None),
        },
    };
    let mut host = Element::new("host").with("name", name.to_owned());
    if let Some(port) = given.or(port) {
        host.set("port", port);
    }
    host
}

/// The host back in one text; its port is left out when it is the one that is always meant.
fn host_text(host: &Element<'_>, usual: Option<&str>) -> String {
    let name = host.get("name").unwrap_or_default();
    let port = host.get("port").filter(|p| Some(*p) != usual);
    match (name.contains(':'), port) {
        (true, Some(port)) => format!("[{name}]:{port}"),
        (false, Some(port)) => format!("{name}:{port}"),
        (_, None) => name.to_owned(),
    }
}

/// How the disk's bytes are reached; `None` is an empty drive.
pub fn read(disk: &Element<'_>) -> Result<Option<Attachment>, Fault> {
    let Some(source) = disk.first("source") else { return Ok(None) };
    let format = disk.attribute(&["driver"], "type").and_then(from_word).unwrap_or(Format::Raw);
    let path = |name: &str| source.get(name).map(PathBuf::from);
    let found = match disk.get("type").unwrap_or("file") {
        "file" => path("file").map(|path| Attachment::File { path, format }),
        "block" => path("dev").map(|path| Attachment::Block { path }),
        "network" => return read_network(source, format).map(Some),
        other => return Err(unknown(other)),
    };
    Ok(found)
}

fn read_network(source: &Element<'_>, format: Format) -> Result<Attachment, Fault> {
    let name = source.get("name").unwrap_or_default();
    let hosts = |usual| source.all("host").map(|h| host_text(h, usual)).collect::<Vec<_>>();
    Ok(match source.get("protocol").unwrap_or_default() {
        "rbd" => Attachment::Rbd {
            name: name.to_owned(),
            monitors: hosts(None),
            user: source.attribute(&["auth"], "username").map(str::to_owned),
            secret: source.attribute(&["auth", "secret"], "uuid").and_then(|u| u.parse().ok()),
        },
        "iscsi" => {
            let (target, lun) = name.rsplit_once('/').unwrap_or((name, "0"));
            Attachment::Iscsi {
                portal: hosts(None).into_iter().next().unwrap_or_default(),
                target: target.to_owned(),
                lun: lun.parse().unwrap_or(0),
            }
        }
        "gluster" => Attachment::Gluster { name: name.to_owned(), hosts: hosts(Some(GLUSTER_PORT)), format },
        other => return Err(unknown(other)),
    })
}

fn unknown(kind: &str) -> Fault {
    Fault::new(FaultKind::Unsupported, format!("a disk is reached in a way Reeve does not know: {kind}"))
        .help("the machine is left alone; only file, block, rbd, iscsi and gluster disks can be managed")
}

/// Whether both reach the same bytes: a default port may be said or not.
pub fn same(a: Option<&Attachment>, b: Option<&Attachment>) -> bool {
    let form =
        |attachment: Option<&Attachment>| attachment.map(|a| source(a).map(|(kind, e)| (kind, e, format(a))).ok());
    a == b || form(a) == form(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_read_as_it_was_written() {
        let attachments = [
            Attachment::File { path: "/a b/<x>&'\".qcow2".into(), format: Format::Qcow2 },
            Attachment::Block { path: "/dev/vg/lv".into() },
            Attachment::Rbd {
                name: "pool/space/image".into(),
                monitors: vec!["10.0.0.1:6789".into(), "[fd00::1]:3300".into()],
                user: Some("reeve".into()),
                secret: Some(uuid::Uuid::from_u128(7)),
            },
            Attachment::Iscsi { portal: "10.0.0.1:3260".into(), target: "iqn.2026-01.a:b".into(), lun: 3 },
            Attachment::Gluster { name: "vol/a/b.qcow2".into(), hosts: vec!["g1".into()], format: Format::Qcow2 },
        ];
        for attachment in attachments {
            let mut disk = Element::new("disk").with("device", "disk");
            apply(&mut disk, Some(&attachment)).unwrap();
            let text = disk.write().unwrap();
            assert_eq!(read(&Element::read(&text).unwrap()).unwrap(), Some(attachment), "{text}");
        }
    }

    #[test]
    fn a_port_that_is_always_meant_makes_no_difference() {
        let rbd = |monitor: &str| Attachment::Rbd {
            name: "p/i".into(),
            monitors: vec![monitor.into()],
            user: None,
            secret: None,
        };
        assert!(same(Some(&rbd("a")), Some(&rbd("a:6789"))));
        assert!(!same(Some(&rbd("a")), Some(&rbd("a:3300"))));
        assert!(!same(None, Some(&rbd("a"))));
    }
}
