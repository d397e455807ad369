//! Our record in a domain's metadata: one JSON text in an element of our own namespace.

use crate::base::{Fault, FaultKind};
use crate::drivers::guest::Record;

use super::Element;

/// The namespace of our element; never to change.
pub const NAMESPACE: &str = "https://reeve.dev/xmlns/libvirt/1";

/// The prefix libvirt is asked to use for it.
pub const PREFIX: &str = "reeve";

/// The element's name within the namespace.
pub const ELEMENT: &str = "machine";

/// The record as text that XML can hold.
pub fn to_text(record: &Record) -> Result<String, Fault> {
    let json = serde_json::to_string(record).map_err(|e| Fault::other(format!("cannot write the record: {e}")))?;
    // JSON escapes control characters; these two it leaves, and XML forbids.
    Ok(json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff").replace('\u{7f}', "\\u007f"))
}

/// The record's element as `virDomainSetMetadata` takes it.
pub fn to_metadata(record: &Record) -> Result<String, Fault> {
    Ok(Element::new(ELEMENT).text_inside(to_text(record)?).write()?)
}

/// The record in what `virDomainGetMetadata` gives.
pub fn from_metadata(xml: &str) -> Result<Record, Fault> {
    from_text(&Element::read(xml)?.text())
}

/// Our record in a domain, when it carries one.
pub fn find(domain: &Element<'_>) -> Result<Option<Record>, Fault> {
    let Some(element) = domain.first("metadata").and_then(|m| m.children().find(|e| is_ours(e))) else {
        return Ok(None);
    };
    from_text(&element.text()).map(Some)
}

/// Puts the record into a domain, instead of one that is there.
pub fn put(domain: &mut Element<'_>, record: &Record) -> Result<(), Fault> {
    let metadata = domain.entry("metadata");
    metadata.remove(is_ours);
    let name = [PREFIX, ELEMENT].join(":");
    let xmlns = ["xmlns", PREFIX].join(":");
    metadata.push(Element::new(name).with(xmlns, NAMESPACE).text_inside(to_text(record)?));
    Ok(())
}

fn is_ours(element: &Element<'_>) -> bool {
    let prefix = element.name.split_once(':').map(|(prefix, _)| prefix);
    element.attributes.iter().any(|(name, value)| {
        value == NAMESPACE
            && match prefix {
                Some(prefix) => name.strip_prefix("xmlns:") == Some(prefix),
                None => name == "xmlns",
            }
    })
}

fn from_text(text: &str) -> Result<Record, Fault> {
    serde_json::from_str(text.trim()).map_err(|e| {
        Fault::new(FaultKind::Invalid, format!("our record in the domain's metadata cannot be read: {e}"))
            .help("it was changed by hand; `virsh metadata` shows it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Mark, Uid};

    fn record(text: &str) -> Record {
        let applied = serde_json::json!({"description": text});
        let mark = Mark { uid: Uid::fresh(), resource: "vm/a".into(), applied: Some(applied) };
        Record {
            mark,
            disks: Default::default(),
            plugs: Default::default(),
            notes: [("k".to_owned(), text.to_owned())].into(),
        }
    }

    #[test]
    fn a_record_survives_whatever_is_in_it() {
        for text in ["plain", "<&>\"']]>", "line\nbreak\r\ttab", "\u{0}\u{1}\u{7f}\u{fffe}\u{ffff}", "é𝄞"] {
            let record = record(text);
            let mut domain = Element::new("domain");
            put(&mut domain, &record).unwrap();
            put(&mut domain, &record).unwrap();
            let written = domain.write().unwrap();
            let read = Element::read(&written).unwrap();
            assert_eq!(find(&read).unwrap(), Some(record.clone()), "{written}");
            assert_eq!(from_metadata(&to_metadata(&record).unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn the_metadata_of_others_is_not_ours() {
        let xml = "<domain><metadata><x:machine xmlns:x='urn:other'>{}</x:machine></metadata></domain>";
        assert_eq!(find(&Element::read(xml).unwrap()).unwrap(), None);
    }
}
