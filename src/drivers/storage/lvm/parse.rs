//! Reads the JSON that `lvs` and `vgs` print; every value in it is text.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::tags::{self, About};
use crate::base::{Fault, Size};
use crate::drivers::storage::pool::Entry;
use crate::drivers::storage::{Format, VolumeInfo};
use crate::kinds::storage::Content;

/// What `lvs` is asked for.
pub const VOLUME: &str = "lv_name,lv_size,lv_attr,lv_tags,pool_lv,origin,data_percent,metadata_percent";
/// What `vgs` is asked for.
pub const GROUP: &str = "vg_size,vg_free,vg_extent_size,vg_tags";
/// The tag of a volume that was not filled to its end.
pub const UNFINISHED: &str = "reeve.unfinished";
/// The start of the tag of a volume that is being made larger: its size before, whose rest is not zeroed yet.
pub const GROWING: &str = "reeve.growing.";
/// The tag of a volume that is a container's.
pub const ROOTDIR: &str = "reeve.rootdir";

#[derive(Debug, Deserialize)]
struct Report {
    report: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    lv: Vec<Volume>,
    #[serde(default)]
    vg: Vec<Extents>,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Volume {
    /// Its name.
    #[serde(rename = "lv_name")]
    pub name: String,
    #[serde(rename = "lv_size", deserialize_with = "bytes")]
    size: Size,
    #[serde(rename = "lv_attr")]
    attributes: String,
    #[serde(rename = "lv_tags")]
    tags: String,
    /// The thin pool that it is in; empty when in none.
    #[serde(default, rename = "pool_lv")]
    pub pool: String,
    /// What it is a snapshot of; empty when of nothing.
    #[serde(default)]
    pub origin: String,
    #[serde(default, rename = "data_percent")]
    data: String,
    #[serde(default, rename = "metadata_percent")]
    metadata: String,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Extents {
    #[serde(rename = "vg_size", deserialize_with = "bytes")]
    size: Size,
    #[serde(rename = "vg_free", deserialize_with = "bytes")]
    free: Size,
    #[serde(rename = "vg_extent_size", deserialize_with = "bytes")]
    extent: Size,
    #[serde(rename = "vg_tags")]
    tags: String,
}

/// A number of bytes; what is none is an error, for a size of nothing would be believed.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
    let text = String::deserialize(from)?;
    let number = text.trim().trim_end_matches('B').parse();
    number.map(Size).map_err(|_| de::Error::custom(format!("{text:?} is no number of bytes")))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

impl Extents {
    /// All there is.
    pub fn size(&self) -> Size {
        self.size
    }

    /// What no volume has.
    pub fn free(&self) -> Size {
        self.free
    }

    /// What sizes are multiples of.
    pub fn extent(&self) -> Size {
        self.extent
    }

    /// Its tags.
    pub fn tags(&self) -> Vec<String> {
        list(&self.tags)
    }
}

impl Volume {
    /// Its tags.
    pub fn tags(&self) -> Vec<String> {
        list(&self.tags)
    }

    /// How many bytes it has.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How much of its size is taken, in percent, where that is known.
    pub fn data(&self) -> Option<f64> {
        self.data.parse().ok()
    }

    /// How much of a thin pool's metadata is taken, in percent, where that is known.
    pub fn metadata(&self) -> Option<f64> {
        self.metadata.parse().ok()
    }

    /// Whether it is a thin pool.
    pub fn is_pool(&self) -> bool {
        self.attributes.starts_with('t')
    }

    /// Whether a thin pool fills new blocks with zeroes.
    pub fn zeroes(&self) -> bool {
        self.attributes.chars().nth(7) == Some('z')
    }

    /// What is wrong with a thin pool, in words.
    pub fn health(&self) -> Option<&'static str> {
        match self.attributes.chars().nth(8) {
            Some('F') => Some("has failed"),
            Some('D') => Some("is out of space"),
            Some('M') => Some("has metadata that cannot be written"),
            Some('p') => Some("lacks a device"),
            Some('X') => Some("is in an unknown state"),
            _ => None,
        }
    }

    /// Whether its volume group takes its whole size: it is neither a pool, nor in one, nor a part of something.
    fn is_whole(&self) -> bool {
        self.attributes.starts_with(['-', 'o', 'O', 'm', 'M', 'r', 'R', 's', 'S', 'C']) && self.pool.is_empty()
    }

    /// The size before it was made larger, when that was broken off.
    pub fn grown_from(&self) -> Option<Size> {
        self.tags().iter().find_map(|t| t.strip_prefix(GROWING)?.parse().ok()).map(Size)
    }

    /// What it is as a volume of ours.
    pub fn entry(&self) -> Entry {
        let tags = self.tags();
        let content = if tags.iter().any(|t| t == ROOTDIR) { Content::Rootdir } else { Content::Images };
        let (mark, problem) = match tags::read(About::Volume, &tags) {
            Ok(mark) => (mark, None),
            Err(why) => (None, Some(format!("the logical volume {}: {why}", self.name))),
        };
        // What was broken off while it grew is done again when it is seen with the size it had.
        let size = self.grown_from().map_or(self.size(), |before| before.min(self.size()));
        let (name, format) = (self.name.clone(), Format::Raw);
        let info = VolumeInfo { name, content, format, size, allocated: Some(self.size()), mark, problem };
        let unfinished = tags.iter().any(|t| t == UNFINISHED);
        Entry { info, unfinished, snapshots: Vec::new(), below: None }
    }
}

fn report(program: &str, printed: &[u8]) -> Result<Vec<Part>, Fault> {
    let read: Result<Report, _> = serde_json::from_slice(printed);
    read.map(|r| r.report).map_err(|e| Fault::other(format!("{program} printed what cannot be understood: {e}")))
}

/// The logical volumes that `lvs` printed.
pub fn volumes(printed: &[u8]) -> Result<Vec<Volume>, Fault> {
    Ok(report("lvs", printed)?.into_iter().flat_map(|part| part.lv).collect())
}

/// The group that `vgs` printed.
pub fn group(printed: &[u8]) -> Result<Extents, Fault> {
    let found = report("vgs", printed)?.into_iter().flat_map(|part| part.vg).next();
    found.ok_or_else(|| Fault::other("vgs printed no group"))
}

/// The entries that the volumes of a group are; what somebody made a snapshot of would take that along.
pub fn entries(volumes: &[Volume]) -> Vec<Entry> {
    // Backwards, so that the first snapshot of a volume is the one that stays.
    let snapshots: BTreeMap<&str, &str> = volumes.iter().rev().map(|v| (v.origin.as_str(), v.name.as_str())).collect();
    let below = |name: &str| snapshots.get(name).map(|snapshot| format!("its snapshot {snapshot}"));
    let whole = volumes.iter().filter(|v| v.is_whole());
    whole.map(|v| Entry { below: below(&v.name), ..v.entry() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lvs_printed_is_read() {
        let found = entries(&volumes(include_bytes!("testdata/lvs.json")).unwrap());
        let seen: Vec<_> = found.iter().map(|e| (e.info.name.as_str(), e.info.size, e.unfinished)).collect();
        let expected = [
            ("ct-a-rootfs", Size::mib(8), false),
            // It has 8 MiB, and the second half of them was not zeroed.
            ("grows", Size::mib(4), false),
            ("half", Size::mib(4), true),
            ("look", Size::mib(4), false),
            ("theirs", Size::mib(4), false),
        ];
        assert_eq!(seen, expected, "neither the thin pool nor what is in it");
        assert_eq!(found[0].info.content, Content::Rootdir);
        assert_eq!(found[0].info.mark.as_ref().map(|m| m.resource.as_str()), Some("ct/a"));
        assert!(found[4].info.mark.is_none() && found[4].info.problem.is_none());
        assert_eq!(found[4].below.as_deref(), Some("its snapshot look"));
    }

    #[test]
    fn what_vgs_printed_is_read() {
        let group = group(include_bytes!("testdata/vgs.json")).unwrap();
        assert_eq!((group.extent(), group.tags().len()), (Size::mib(4), 1));
        assert!(group.free() < group.size() && group.size() > Size::mib(500));
        assert!(volumes(b"no JSON").is_err());
        let strange = include_str!("testdata/lvs.json").replacen("\"lv_size\":\"8388608\"", "\"lv_size\":\"8.00m\"", 1);
        let fault = volumes(strange.as_bytes()).unwrap_err();
        assert!(fault.message.contains("\"8.00m\" is no number of bytes"), "{fault}");
    }
}
