//! Where everything is in the store: one function for each kind of key, and no key is spelled anywhere else.
//!
//! ```text
//! manifests/<kind>/<name>          what was accepted                    records::ManifestRecord
//! applied/<kind>/<name>            what was last applied
//! status/<kind>/<name>             what is known of it
//! overrides/<kind>/<name>          what is for a while not as it says
//! sources/<name>                   a source of manifests that is suspended
//! permits/<kind>/<name>            which node may run it, and the epoch
//! tombstones/<kind>/<name>/<uid>   what was deleted, and why            records::Tombstone
//! events/<microseconds>/<id>       what happened, in order of time      records::EventRecord
//! journal/<id>                     what is being done outside           records::JournalRecord
//! meta/<name>                      facts about the store itself, and about the node (`boot`)
//! ```
//!
//! A segment is any text: what would break the layout (`/`, `%`, control characters) is percent-encoded, so two different
//! resources never meet in one key and none lands below another. The prefixes end in `/`, so that `vm` never finds `vmx`.

use std::fmt::Write;

use jiff::Timestamp;
use uuid::Uuid;

/// The key of a resource's accepted manifest.
pub fn manifest(kind: &str, name: &str) -> String {
    resource("manifests", kind, name)
}

/// The prefix of all manifests.
pub fn manifests() -> String {
    "manifests/".to_owned()
}

/// The prefix of the manifests of one kind.
pub fn manifests_of(kind: &str) -> String {
    below("manifests", kind)
}

/// The key of what was last applied for a resource.
pub fn applied(kind: &str, name: &str) -> String {
    resource("applied", kind, name)
}

/// The prefix of all that was last applied.
pub fn all_applied() -> String {
    "applied/".to_owned()
}

/// The key of a resource's status.
pub fn status(kind: &str, name: &str) -> String {
    resource("status", kind, name)
}

/// The prefix of all status.
pub fn statuses() -> String {
    "status/".to_owned()
}

/// The key of what is overridden of a resource.
pub fn overrides_of(kind: &str, name: &str) -> String {
    resource("overrides", kind, name)
}

/// The prefix of all overrides.
pub fn overrides() -> String {
    "overrides/".to_owned()
}

/// The key of what is kept of a source of manifests.
pub fn source(name: &str) -> String {
    format!("sources/{}", segment(name))
}

/// The prefix of what is kept of sources.
pub fn sources() -> String {
    "sources/".to_owned()
}

/// The key of the permit to run a guest.
pub fn permit(kind: &str, name: &str) -> String {
    resource("permits", kind, name)
}

/// The prefix of all permits.
pub fn permits() -> String {
    "permits/".to_owned()
}

/// The key of the mark that one resource, told from others of its name by its UID, was deleted.
pub fn tombstone(kind: &str, name: &str, uid: Uuid) -> String {
    format!("{}{uid}", tombstones_of(kind, name))
}

/// The prefix of the tombstones of all resources that had one name.
pub fn tombstones_of(kind: &str, name: &str) -> String {
    resource("tombstones", kind, name) + "/"
}

/// The prefix of all tombstones.
pub fn tombstones() -> String {
    "tombstones/".to_owned()
}

/// The key of an event; keys sort by time, and the id tells events of one microsecond apart.
pub fn event(at: Timestamp, id: Uuid) -> String {
    format!("{}{id}", events_at(at))
}

/// The prefix of all events.
pub fn events() -> String {
    "events/".to_owned()
}

/// The prefix of the events of one microsecond: every older event's key sorts before it.
pub fn events_at(at: Timestamp) -> String {
    format!("events/{:020}/", at.as_microsecond().max(0))
}

/// The key of a journal record.
pub fn journal(id: Uuid) -> String {
    format!("journal/{id}")
}

/// The prefix of the journal.
pub fn journals() -> String {
    "journal/".to_owned()
}

/// The key of a fact about the store itself.
pub fn meta(name: &str) -> String {
    format!("meta/{}", segment(name))
}

/// The prefix of the facts about the store itself.
pub fn metas() -> String {
    "meta/".to_owned()
}

/// The kind and name in a key that ends in both, whatever it starts with.
pub fn resource_of(key: &str) -> Option<(String, String)> {
    let mut segments = key.split('/').skip(1);
    let (kind, name) = (segments.next()?, segments.next()?);
    Some((plain(kind)?, plain(name)?))
}

fn resource(top: &str, kind: &str, name: &str) -> String {
    format!("{top}/{}/{}", segment(kind), segment(name))
}

fn below(top: &str, kind: &str) -> String {
    format!("{top}/{}/", segment(kind))
}

/// Text as one segment of a key; the empty text is a lone `%`, which nothing else becomes.
fn segment(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '/' | '%') || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        } else {
            encoded.push(character);
        }
    }
    encoded
}

/// The text of a segment, or nothing when no text encodes to it.
fn plain(segment: &str) -> Option<String> {
    if segment == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => {
                let (digits, after) = after.split_at_checked(2)?;
                (u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?, after)
            }
            other => (*other, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok().filter(|text| self::segment(text) == segment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_look_as_documented() {
        let uid = Uuid::nil();
        assert_eq!(manifest("vm", "web-1"), "manifests/vm/web-1");
        assert_eq!(manifests_of("vm"), "manifests/vm/");
        assert_eq!(tombstone("vm", "a", uid), "tombstones/vm/a/00000000-0000-0000-0000-000000000000");
        let at = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
        assert_eq!(event(at, uid), "events/00001700000000000001/00000000-0000-0000-0000-000000000000");
        assert_eq!(journal(uid), "journal/00000000-0000-0000-0000-000000000000");
        assert_eq!(meta("format"), "meta/format");
    }

    #[test]
    fn a_name_cannot_leave_its_place() {
        assert_eq!(manifest("vm", "../../permits/vm/x"), "manifests/vm/..%2F..%2Fpermits%2Fvm%2Fx");
        assert_eq!(manifest("vm", "a\nb%"), "manifests/vm/a%0Ab%25");
        assert_eq!(manifest("vm", ""), "manifests/vm/%");
    }

    #[test]
    fn events_sort_by_time() {
        let at = |microsecond| event(Timestamp::from_microsecond(microsecond).unwrap(), Uuid::nil());
        assert!(at(9) < at(10));
        assert!(at(999_999) < at(1_700_000_000_000_000));
    }

    proptest! {
        #[test]
        fn every_name_comes_back(kind in any::<String>(), name in any::<String>()) {
            let key = status(&kind, &name);
            prop_assert_eq!(key.split('/').count(), 3);
            prop_assert!(!key.chars().any(char::is_control));
            prop_assert_eq!(resource_of(&key), Some((kind, name)));
        }
    }
}
