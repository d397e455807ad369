//! Reads what `zfs get -Hp -o name,property,value,source` prints: one line a property, its fields apart by tabs.
//!
//! `get` and not `list`, because ZFS before 0.7 has exact numbers only there, and because it says whether a property is
//! the dataset's own: our mark on the place itself would otherwise show on everything below.

use std::collections::BTreeMap;

use crate::base::{Mark, Size};
use crate::drivers::storage::pool::Entry;
use crate::drivers::storage::{Format, VolumeInfo};
use crate::kinds::storage::Content;

/// The mark of a volume.
pub const MARK: &str = "reeve:mark";
/// Says that a volume was not filled to its end.
pub const UNFINISHED: &str = "reeve:unfinished";
/// The mark of the storage, on its place.
pub const PLACE: &str = "reeve:storage";
/// What is asked for.
pub const PROPERTIES: &str =
    "type,used,available,referenced,refquota,volsize,mounted,reeve:mark,reeve:unfinished,reeve:storage";

/// One dataset with those properties that have a value of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset(BTreeMap<String, String>);

impl Dataset {
    /// A property's text.
    pub fn text(&self, property: &str) -> Option<&str> {
        self.0.get(property).map(String::as_str)
    }

    /// A property's number of bytes.
    pub fn size(&self, property: &str) -> Size {
        Size(self.text(property).and_then(|t| t.parse().ok()).unwrap_or_default())
    }

    /// A mark, or why it cannot be read.
    pub fn mark(&self, property: &str) -> Result<Option<Mark>, String> {
        let Some(text) = self.text(property) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|e| format!("its property {property} cannot be understood: {e}"))
    }
}

/// Datasets in the order in which they were printed.
pub fn datasets(printed: &str) -> Vec<(String, Dataset)> {
    let mut found: Vec<(String, Dataset)> = Vec::new();
    for line in printed.lines() {
        let mut fields = line.splitn(3, '\t');
        let (Some(name), Some(property), Some(rest)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let Some((value, source)) = rest.rsplit_once('\t') else { continue };
        if found.last().is_none_or(|(last, _)| last != name) {
            found.push((name.to_owned(), Dataset::default()));
        }
        let own = source == "-" || source == "local" || source == "received";
        if let Some((_, dataset)) = found.last_mut().filter(|_| own && value != "-") {
            dataset.0.insert(property.to_owned(), value.to_owned());
        }
    }
    found
}

/// The entries below the place `pool`; a dataset two levels down and a snapshot are what their volume says of itself.
pub fn entries(pool: &str, datasets: &[(String, Dataset)]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, dataset) in datasets {
        let Some(below) = name.strip_prefix(pool).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let end = below.find(['/', '@', '#']).unwrap_or(below.len());
        let (volume, rest) = below.split_at(end);
        if rest.is_empty() {
            known.insert(volume, entries.len());
            entries.push(entry(volume, dataset));
            continue;
        }
        let Some(entry) = known.get(volume).and_then(|at| entries.get_mut(*at)) else { continue };
        match rest.strip_prefix('@') {
            Some(snapshot) => entry.snapshots.push(snapshot.to_owned()),
            None if rest.starts_with('/') => entry.below = Some(name.clone()),
            None => {}
        }
    }
    entries
}

fn entry(name: &str, dataset: &Dataset) -> Entry {
    let device = dataset.text("type") == Some("volume");
    let (content, format) = if device { (Content::Images, Format::Raw) } else { (Content::Rootdir, Format::Subvol) };
    let (mark, problem) = match dataset.mark(MARK) {
        Ok(mark) => (mark, None),
        Err(why) => (None, Some(format!("the dataset {name}: {why}"))),
    };
    let info = VolumeInfo {
        name: name.to_owned(),
        content,
        format,
        size: dataset.size(if device { "volsize" } else { "refquota" }),
        allocated: Some(dataset.size("used")),
        mark,
        problem,
    };
    let unfinished = dataset.text(UNFINISHED).is_some();
    Entry { info, unfinished, snapshots: Vec::new(), below: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openzfs_prints_is_read() {
        let found = entries("tank/reeve", &datasets(include_str!("testdata/openzfs.txt")));
        let names: Vec<&str> = found.iter().map(|e| e.info.name.as_str()).collect();
        assert_eq!(names, ["ct-dns-rootfs", "theirs", "vm-half-root", "vm-web-root"]);
        let [dns, theirs, half, web] = found.as_slice() else { panic!("four") };
        assert_eq!(
            (dns.info.content, dns.info.format, dns.info.size),
            (Content::Rootdir, Format::Subvol, Size::gib(4))
        );
        assert_eq!(dns.info.mark.as_ref().map(|m| m.resource.as_str()), Some("ct/dns"));
        assert_eq!((dns.below.as_deref(), dns.unfinished), (Some("tank/reeve/ct-dns-rootfs/inner"), false));
        assert_eq!((theirs.info.mark.clone(), theirs.info.size), (None, Size(0)));
        assert!(half.unfinished);
        assert_eq!((web.info.content, web.info.format, web.info.size), (Content::Images, Format::Raw, Size::gib(20)));
        assert_eq!(
            (web.info.allocated, web.snapshots.as_slice()),
            (Some(Size(1_413_165_056)), &["one".into(), "two".into()][..])
        );
    }

    #[test]
    fn what_zfs_fuse_prints_is_read() {
        let found = entries("stz/a", &datasets(include_str!("testdata/zfs-fuse.txt")));
        let [entry] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((entry.info.name.as_str(), entry.info.size), ("v", Size::mib(1)));
        assert!(entry.info.problem.as_deref().is_some_and(|p| p.contains("reeve:mark")));
        assert_eq!(entry.snapshots, ["one", "two"]);
    }

    #[test]
    fn an_inherited_mark_is_no_mark() {
        let printed = "p/v\ttype\tfilesystem\t-\np/v\treeve:mark\t{\"uid\":1}\tinherited from p\n";
        assert_eq!(entries("p", &datasets(printed))[0].info.mark, None);
    }
}
