//! A mark as tags of LVM: its JSON in base64url, in pieces that fit a tag, each with its number and how many there are.
//!
//! All pieces of a mark are put on or taken off by one command, which LVM does as a whole or not at all.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::{Fault, Mark};

/// The longest piece; a tag has at most 1,024 characters.
const PIECE: usize = 800;

/// What a mark is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About<'a> {
    /// A logical volume.
    Volume,
    /// The group as a storage.
    Group,
    /// A thin pool of the group as a storage.
    Pool(&'a str),
}

impl About<'_> {
    fn prefix(self) -> String {
        match self {
            Self::Volume => "reeve.mark.".into(),
            Self::Group => "reeve.storage.".into(),
            // A slash is in no name, so no pool's prefix is the start of another's.
            Self::Pool(pool) => format!("reeve.pool.{pool}/"),
        }
    }
}

/// The tags of a mark.
pub fn write(about: About<'_>, mark: &Mark) -> Result<BTreeSet<String>, Fault> {
    let text = serde_json::to_vec(mark).map_err(|e| Fault::other(format!("a mark cannot be written: {e}")))?;
    let text = URL_SAFE_NO_PAD.encode(text);
    let pieces: Vec<&str> = (0..text.len()).step_by(PIECE).map(|at| &text[at..text.len().min(at + PIECE)]).collect();
    let tag = |(number, piece): (usize, &&str)| format!("{}{number}.{}.{piece}", about.prefix(), pieces.len());
    Ok(pieces.iter().enumerate().map(tag).collect())
}

/// The tags among `tags` that are pieces of a mark.
pub fn of(about: About<'_>, tags: &[String]) -> BTreeSet<String> {
    tags.iter().filter(|tag| tag.starts_with(&about.prefix())).cloned().collect()
}

/// The mark that `tags` hold, or why they hold none that can be read.
pub fn read(about: About<'_>, tags: &[String]) -> Result<Option<Mark>, String> {
    let prefix = about.prefix();
    let mut pieces: Vec<(usize, usize, &str)> = Vec::new();
    for tag in tags.iter().filter_map(|tag| tag.strip_prefix(&prefix)) {
        let mut parts = tag.splitn(3, '.');
        let mut number = || parts.next().and_then(|n| n.parse().ok());
        let (Some(at), Some(count)) = (number(), number()) else { return Err("a tag of its mark is damaged".into()) };
        pieces.push((at, count, parts.next().unwrap_or_default()));
    }
    if pieces.is_empty() {
        return Ok(None);
    }
    pieces.sort_unstable();
    let whole = pieces.iter().enumerate().all(|(number, (at, count, _))| number == *at && *count == pieces.len());
    if !whole {
        return Err("some tags of its mark are missing".into());
    }
    let text: String = pieces.iter().map(|(.., piece)| *piece).collect();
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| format!("the tags of its mark are damaged: {e}"))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| format!("the tags of its mark cannot be understood: {e}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Uid;

    proptest! {
        #[test]
        fn a_mark_survives(text in ".{0,3000}", resource in "[a-z]{1,8}/[a-z0-9-]{1,60}") {
            let mark = Mark { uid: Uid::fresh(), resource, applied: Some(serde_json::json!({"text": text})) };
            let mut tags: Vec<String> = write(About::Volume, &mark).unwrap().into_iter().collect();
            let plain = |c: char| c.is_ascii_alphanumeric() || "_+.-/=!:&#".contains(c);
            prop_assert!(tags.iter().all(|t| t.len() <= 1024 && t.chars().all(plain)));
            tags.reverse();
            tags.push("another.tag".into());
            prop_assert_eq!(read(About::Volume, &tags).unwrap(), Some(mark));
            prop_assert_eq!(read(About::Group, &tags).unwrap(), None);
            prop_assert_eq!(read(About::Pool("x"), &tags).unwrap(), None);
            tags.remove(0);
            prop_assert!(!matches!(read(About::Volume, &tags), Ok(Some(_))));
        }
    }
}
