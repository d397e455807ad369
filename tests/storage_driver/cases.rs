//! What every driver must do, one rule a case.

use std::rc::Rc;

use reeve::base::{FaultKind, Mark, Size};
use reeve::drivers::storage::{Attachment, Format, NewVolume};
use reeve::kinds::storage::Content;
use serde_json::json;

use super::subject::{Subject, new, open, owner, refused};

const ODD: [&str; 12] = [
    "a b",
    "a:b",
    "nbd:localhost:1",
    "json:{}",
    "a,b=c",
    "-rf",
    "--help",
    "$(reboot)`x`",
    "ü-日本",
    "a'b\"c\\d",
    "x.qcow2",
    "%s%n*?[]",
];

pub async fn a_new_volume_is_what_was_asked_for(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        let made = s.make(&name, format, s.size(3), &us).await.unwrap();
        assert_eq!(s.storage.find(&name).await.unwrap().as_ref(), Some(&made));
        assert_eq!((made.format, made.size, made.mark), (format, s.size(3), Some(us)));
        assert_eq!((made.name, made.problem), (name, None));
    }
}

pub async fn making_it_again_counts_as_made(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        let first = s.make(&name, format, s.size(1), &us).await.unwrap();
        assert_eq!(s.make(&name, format, s.size(1), &us).await.unwrap(), first);
    }
    assert_eq!(s.storage.list().await.unwrap().len(), s.formats().len());
}

pub async fn another_owners_volume_is_not_taken(s: Rc<Subject>) {
    let first = s.make("v", s.near(Format::Raw), s.size(1), &owner("vm/a")).await.unwrap();
    let fault = refused(s.make("v", s.near(Format::Raw), s.size(1), &owner("vm/b")).await, FaultKind::Identity);
    assert!(fault.message.contains("vm/a"), "it should say whose it is: {fault}");
    assert_eq!(s.storage.find("v").await.unwrap(), Some(first));
}

pub async fn a_volume_without_a_mark_is_not_taken(s: Rc<Subject>) {
    s.plant("v", s.size(1));
    refused(s.make("v", s.near(Format::Raw), s.size(1), &owner("vm/a")).await, FaultKind::Exists);
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, None);
}

pub async fn another_size_is_not_taken_for_the_same(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    refused(s.make("v", s.near(Format::Raw), s.size(2), &us).await, FaultKind::Exists);
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().size, s.size(1));
}

pub async fn another_format_is_not_taken_for_the_same(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    let others: Vec<Format> = s.formats().into_iter().filter(|f| *f != s.near(Format::Raw)).collect();
    if others.is_empty() {
        return s.not_applicable("it has one format");
    }
    for format in others {
        refused(s.make("v", format, s.size(1), &us).await, FaultKind::Exists);
    }
    assert_eq!(s.storage.list().await.unwrap().len(), 1);
}

pub async fn content_that_the_manifest_does_not_allow_is_refused(s: Rc<Subject>) {
    let limited = s.limited(&[Content::Images]);
    let us = owner("vm/a");
    if s.formats().contains(&Format::Raw) {
        limited.create(&new("v", Format::Raw, s.size(1), &us), &|_, _| {}).await.unwrap();
    }
    let tree = new("w", s.near(Format::Subvol), s.size(1), &us);
    let other = limited.create(&NewVolume { content: Content::Rootdir, ..tree }, &|_, _| {}).await;
    refused(other, FaultKind::Invalid);
    assert_eq!(limited.find("w").await.unwrap(), None);
}

pub async fn formats_that_a_content_cannot_have_are_refused(s: Rc<Subject>) {
    for (content, format) in
        [(Content::Images, Format::Subvol), (Content::Rootdir, Format::Vmdk), (Content::Iso, Format::Qcow2)]
    {
        let new = NewVolume { content, ..new("v", format, s.size(1), &owner("vm/a")) };
        refused(s.storage.create(&new, &|_, _| {}).await, FaultKind::Invalid);
    }
}

pub async fn sizes_that_no_disk_has_are_refused(s: Rc<Subject>) {
    for size in [0, 1, 513, u64::MAX] {
        for format in s.nearest(&[Format::Raw, Format::Qcow2]) {
            refused(s.make("v", format, Size(size), &owner("vm/a")).await, FaultKind::Invalid);
        }
    }
    assert_eq!(s.storage.list().await.unwrap(), []);
}

pub async fn names_that_could_escape_are_refused(s: Rc<Subject>) {
    let us = owner("vm/a");
    for name in ["", ".", "..", "../v", "a/b", "/etc/passwd", ".hidden", "a\nb", "a\0b", &"x".repeat(300)] {
        refused(s.make(name, s.near(Format::Raw), s.size(1), &us).await, FaultKind::Invalid);
        refused(s.storage.find(name).await, FaultKind::Invalid);
    }
    assert_eq!(s.storage.list().await.unwrap(), []);
}

pub async fn odd_names_are_taken_as_they_are(s: Rc<Subject>) {
    for name in ODD {
        let us = owner("vm/a");
        for format in s.formats() {
            match s.make(name, format, s.size(1), &us).await {
                // A name that the type cannot keep is refused, and nothing else happens.
                Err(fault) if !s.any_name && fault.kind == FaultKind::Invalid => {
                    assert_eq!(s.storage.list().await.unwrap(), [], "{name:?}");
                    continue;
                }
                made => drop(made.unwrap_or_else(|e| panic!("{name:?} {format}: {e}"))),
            }
            if format != Format::Vmdk {
                s.storage.grow(name, &us, s.size(2)).await.unwrap_or_else(|e| panic!("{name:?} {format}: {e}"));
            }
            let found = s.storage.find(name).await.unwrap().unwrap();
            assert_eq!(found.name, name);
            s.storage.delete(name, &us, found.size).await.unwrap();
            assert_eq!(s.storage.list().await.unwrap(), []);
        }
    }
}

pub async fn the_longest_name_works(s: Rc<Subject>) {
    let (name, us) = ("x".repeat(200), owner("vm/a"));
    for format in s.formats() {
        match s.make(&name, format, s.size(1), &us).await {
            Err(fault) if !s.any_name && fault.kind == FaultKind::Invalid => continue,
            made => drop(made.unwrap()),
        }
        s.storage.delete(&name, &us, s.size(1)).await.unwrap();
    }
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}

pub async fn a_directory_volume_starts_empty(s: Rc<Subject>) {
    if !s.formats().contains(&Format::Subvol) {
        return s.not_applicable("it has no directories");
    }
    s.make("v", Format::Subvol, s.size(1), &owner("ct/a")).await.unwrap();
    let Attachment::Directory { path } = s.storage.attachment("v").await.unwrap() else { panic!("no directory") };
    if s.has_bytes() {
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }
}

pub async fn what_is_not_there_is_not_found(s: Rc<Subject>) {
    assert_eq!(s.storage.find("v").await.unwrap(), None);
}

pub async fn an_empty_storage_lists_nothing(s: Rc<Subject>) {
    assert_eq!(s.storage.list().await.unwrap(), []);
}

pub async fn a_listing_shows_everything_with_its_mark(s: Rc<Subject>) {
    let mut made = Vec::new();
    for format in s.formats() {
        made.push(s.make(&format!("v-{format}"), format, s.size(5), &owner("vm/a")).await.unwrap());
    }
    let mut listed = s.storage.list().await.unwrap();
    made.sort_by(|a, b| a.name.cmp(&b.name));
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(listed, made);
}

pub async fn a_listing_shows_foreign_volumes_without_a_mark(s: Rc<Subject>) {
    s.plant("theirs", s.size(2));
    let listed = s.storage.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].size, &listed[0].mark), ("theirs", s.size(2), &None));
}

pub async fn before_activation_nothing_is_known(s: Rc<Subject>) {
    let fresh = open(s.driver, &s.fresh, None);
    assert!(!fresh.active().await.unwrap());
    refused(fresh.list().await, FaultKind::NotFound);
    refused(fresh.find("v").await, FaultKind::NotFound);
    let made = fresh.create(&new("v", s.near(Format::Raw), s.size(1), &owner("vm/a")), &|_, _| {}).await;
    refused(made, FaultKind::NotFound);
    fresh.activate().await.unwrap();
    assert!(fresh.active().await.unwrap());
    assert_eq!(fresh.list().await.unwrap(), []);
}

pub async fn activation_can_be_repeated_and_keeps_what_is_there(s: Rc<Subject>) {
    let made = s.make("v", s.near(Format::Qcow2), s.size(1), &owner("vm/a")).await.unwrap();
    s.storage.activate().await.unwrap();
    assert!(s.storage.active().await.unwrap());
    assert_eq!(s.storage.list().await.unwrap(), [made]);
}

pub async fn growing_shows_the_new_size(s: Rc<Subject>) {
    for format in s.nearest(&[Format::Raw, Format::Qcow2, Format::Subvol]) {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        s.make(&name, format, s.size(1), &us).await.unwrap();
        s.storage.grow(&name, &us, s.size(s.much)).await.unwrap();
        let found = s.storage.find(&name).await.unwrap().unwrap();
        assert_eq!((found.size, found.mark), (s.size(s.much), Some(us)));
    }
}

pub async fn growing_to_the_same_size_changes_nothing(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        let made = s.make(&name, format, s.size(1), &us).await.unwrap();
        s.storage.grow(&name, &us, s.size(1)).await.unwrap();
        assert_eq!(s.storage.find(&name).await.unwrap(), Some(made));
    }
}

pub async fn shrinking_is_refused_and_changes_nothing(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        let made = s.make(&name, format, s.size(4), &us).await.unwrap();
        refused(s.storage.grow(&name, &us, s.size(1)).await, FaultKind::Invalid);
        assert_eq!(s.storage.find(&name).await.unwrap(), Some(made));
    }
}

pub async fn growing_what_is_not_ours_is_refused(s: Rc<Subject>) {
    let made = s.make("v", s.near(Format::Raw), s.size(1), &owner("vm/a")).await.unwrap();
    refused(s.storage.grow("v", &owner("vm/a"), s.size(2)).await, FaultKind::Identity);
    s.plant("theirs", s.size(1));
    refused(s.storage.grow("theirs", &owner("vm/a"), s.size(2)).await, FaultKind::Identity);
    assert_eq!(s.storage.find("v").await.unwrap(), Some(made));
    assert_eq!(s.storage.find("theirs").await.unwrap().unwrap().size, s.size(1));
}

pub async fn growing_what_is_not_there_is_refused(s: Rc<Subject>) {
    refused(s.storage.grow("v", &owner("vm/a"), s.size(1)).await, FaultKind::NotFound);
}

pub async fn growing_to_a_size_that_no_disk_has_is_refused(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    refused(s.storage.grow("v", &us, Size(s.size(1).bytes() + 1)).await, FaultKind::Invalid);
}

pub async fn a_file_in_use_does_not_grow(s: Rc<Subject>) {
    for format in s.nearest(&[Format::Raw, Format::Qcow2]) {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        s.make(&name, format, s.size(1), &us).await.unwrap();
        let held = s.hold(&name).await;
        let grown = s.storage.grow(&name, &us, s.size(2)).await;
        drop(held);
        if !matches!(s.storage.attachment(&name).await.unwrap(), Attachment::File { .. }) {
            // A device or a directory grows under whoever has it open, without being told.
            grown.unwrap();
            assert_eq!(s.storage.find(&name).await.unwrap().unwrap().size, s.size(2));
            continue;
        }
        refused(grown, FaultKind::Busy);
        assert_eq!(s.storage.find(&name).await.unwrap().unwrap().size, s.size(1));
        s.storage.grow(&name, &us, s.size(2)).await.unwrap();
    }
}

pub async fn a_mark_can_be_replaced(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        s.make(&name, format, s.size(1), &us).await.unwrap();
        let next = Mark { applied: Some(json!({"state": "orphan"})), ..us.clone() };
        s.storage.remark(&name, Some(&us), &next).await.unwrap();
        let found = s.storage.find(&name).await.unwrap().unwrap();
        assert_eq!((found.mark, found.size), (Some(next.clone()), s.size(1)));
        let heir = owner("vm/b");
        s.storage.remark(&name, Some(&next), &heir).await.unwrap();
        assert_eq!(s.storage.find(&name).await.unwrap().unwrap().mark, Some(heir));
    }
}

pub async fn a_mark_of_another_owner_cannot_be_replaced(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    for from in [None, Some(owner("vm/a"))] {
        refused(s.storage.remark("v", from.as_ref(), &owner("vm/b")).await, FaultKind::Identity);
    }
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, Some(us));
}

pub async fn a_foreign_volume_can_be_marked_when_it_has_no_mark(s: Rc<Subject>) {
    s.plant("v", s.size(1));
    let us = owner("volume/v");
    refused(s.storage.remark("v", Some(&us), &us).await, FaultKind::Identity);
    s.storage.remark("v", None, &us).await.unwrap();
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, Some(us));
}

pub async fn what_is_not_there_cannot_be_marked(s: Rc<Subject>) {
    refused(s.storage.remark("v", None, &owner("vm/a")).await, FaultKind::NotFound);
    assert_eq!(s.storage.list().await.unwrap(), []);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}

pub async fn a_large_mark_survives(s: Rc<Subject>) {
    let us = Mark { applied: Some(json!({"text": "x".repeat(3_500)})), ..owner("vm/a") };
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, Some(us));
}

pub async fn a_mark_with_odd_text_survives(s: Rc<Subject>) {
    let us = Mark { applied: Some(json!({"a\n\"'": ["\u{0}\u{7f}ü日本 \\", 1.5, null]})), ..owner("vm/a") };
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, Some(us));
}

pub async fn a_deleted_volume_is_gone(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        s.make(&name, format, s.size(1), &us).await.unwrap();
        if format == Format::Subvol && s.has_bytes() {
            let inside = s.path(&name).await.join("etc/deep");
            std::fs::create_dir_all(&inside).unwrap();
            std::os::unix::fs::symlink("/etc", inside.join("link")).unwrap();
        }
        s.storage.delete(&name, &us, s.size(1)).await.unwrap();
        assert_eq!(s.storage.find(&name).await.unwrap(), None);
    }
    assert!(std::path::Path::new("/etc/passwd").exists());
    assert_eq!(s.storage.list().await.unwrap(), []);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}

pub async fn deleting_what_is_not_there_succeeds(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
}

pub async fn another_owners_volume_is_not_deleted(s: Rc<Subject>) {
    let made = s.make("v", s.near(Format::Raw), s.size(1), &owner("vm/a")).await.unwrap();
    refused(s.storage.delete("v", &owner("vm/a"), s.size(1)).await, FaultKind::Identity);
    assert_eq!(s.storage.find("v").await.unwrap(), Some(made));
}

pub async fn a_volume_without_a_mark_is_not_deleted(s: Rc<Subject>) {
    s.plant("v", s.size(1));
    refused(s.storage.delete("v", &owner("vm/a"), s.size(1)).await, FaultKind::Identity);
    assert!(s.storage.find("v").await.unwrap().is_some());
}

pub async fn a_volume_of_another_size_is_not_deleted(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    refused(s.storage.delete("v", &us, s.size(2)).await, FaultKind::Identity);
    assert!(s.storage.find("v").await.unwrap().is_some());
}

pub async fn a_volume_in_use_is_not_deleted(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    let held = s.hold("v").await;
    refused(s.storage.delete("v", &us, s.size(1)).await, FaultKind::Busy);
    drop(held);
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
}

pub async fn a_volume_made_anew_is_not_the_one_that_was_there(s: Rc<Subject>) {
    let (first, second) = (owner("vm/a"), owner("vm/a"));
    s.make("v", s.near(Format::Raw), s.size(1), &first).await.unwrap();
    s.storage.delete("v", &first, s.size(1)).await.unwrap();
    s.make("v", s.near(Format::Raw), s.size(1), &second).await.unwrap();
    refused(s.storage.delete("v", &first, s.size(1)).await, FaultKind::Identity);
    assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, Some(second));
}

pub async fn neighbours_are_not_touched(s: Rc<Subject>) {
    let us = owner("vm/a");
    s.plant("v-2", s.size(1));
    let (raw, beside) = (s.near(Format::Raw), if s.any_name { "v v" } else { "v_v" });
    let near =
        [s.make("v.raw", raw, s.size(1), &us).await.unwrap(), s.make(beside, raw, s.size(1), &us).await.unwrap()];
    s.make("v", s.near(Format::Raw), s.size(1), &us).await.unwrap();
    s.storage.grow("v", &us, s.size(2)).await.unwrap();
    s.storage.clean("v").await.unwrap();
    s.storage.delete("v", &us, s.size(2)).await.unwrap();
    for info in near {
        assert_eq!(s.storage.find(&info.name).await.unwrap(), Some(info));
    }
    assert_eq!(s.storage.find("v-2").await.unwrap().unwrap().size, s.size(1));
}

pub async fn a_name_is_free_again_after_a_delete(s: Rc<Subject>) {
    for format in s.formats() {
        let us = owner("vm/a");
        s.make("v", format, s.size(1), &us).await.unwrap();
        s.storage.delete("v", &us, s.size(1)).await.unwrap();
    }
}

pub async fn an_attachment_leads_to_the_volume(s: Rc<Subject>) {
    for format in s.formats() {
        let name = format!("v-{format}");
        s.make(&name, format, s.size(1), &owner("vm/a")).await.unwrap();
        let path = match s.storage.attachment(&name).await.unwrap() {
            Attachment::Directory { path } if format == Format::Subvol => path,
            Attachment::File { path, format: said } if format == said => path,
            Attachment::Block { path } if format == Format::Raw => path,
            other => panic!("{other:?}"),
        };
        assert!(path.is_absolute());
        assert!(s.files().is_none_or(|root| path.starts_with(root) && path.exists()));
    }
}

pub async fn what_is_not_there_has_no_attachment(s: Rc<Subject>) {
    refused(s.storage.attachment("v").await, FaultKind::NotFound);
}

pub async fn usage_adds_up(s: Rc<Subject>) {
    let usage = s.storage.usage().await.unwrap();
    assert!(usage.promised.is_none_or(|p| p.bytes() == 0), "an empty storage promises nothing: {usage:?}");
    assert!(usage.total.bytes() > 0 && usage.used.bytes() + usage.free.bytes() <= usage.total.bytes(), "{usage:?}");
}

pub async fn the_storages_own_mark_is_kept(s: Rc<Subject>) {
    let marked = s.storage.marked().unwrap();
    assert_eq!(marked.mark().await.unwrap(), None);
    let us = owner("storage/s");
    marked.set_mark(None, Some(&us)).await.unwrap();
    assert_eq!(marked.mark().await.unwrap(), Some(us.clone()));
    let next = Mark { applied: None, ..us.clone() };
    marked.set_mark(Some(&us), Some(&next)).await.unwrap();
    assert_eq!(marked.mark().await.unwrap(), Some(next.clone()));
    marked.set_mark(Some(&next), None).await.unwrap();
    marked.set_mark(Some(&next), None).await.unwrap();
    assert_eq!(marked.mark().await.unwrap(), None);
}

pub async fn the_storages_own_mark_is_not_taken_from_another(s: Rc<Subject>) {
    let (us, them) = (owner("storage/s"), owner("storage/t"));
    let marked = s.storage.marked().unwrap();
    marked.set_mark(None, Some(&them)).await.unwrap();
    refused(marked.set_mark(None, Some(&us)).await, FaultKind::Identity);
    refused(marked.set_mark(Some(&us), None).await, FaultKind::Identity);
    assert_eq!(marked.mark().await.unwrap(), Some(them));
}

pub async fn a_reopened_storage_knows_the_same(s: Rc<Subject>) {
    let made = s.make("v", s.near(Format::Qcow2), s.size(1), &owner("vm/a")).await.unwrap();
    let again = s.limited(&Content::ALL);
    assert!(again.active().await.unwrap());
    assert_eq!(again.list().await.unwrap(), [made]);
}

pub async fn cleaning_touches_no_volume(s: Rc<Subject>) {
    for format in s.formats() {
        let (name, us) = (format!("v-{format}"), owner("vm/a"));
        let made = s.make(&name, format, s.size(1), &us).await.unwrap();
        s.storage.clean(&name).await.unwrap();
        assert_eq!(s.storage.find(&name).await.unwrap(), Some(made));
    }
    s.plant("theirs", s.size(1));
    s.storage.clean("theirs").await.unwrap();
    assert!(s.storage.find("theirs").await.unwrap().is_some());
    s.storage.clean("never there").await.unwrap();
}

pub async fn nothing_is_left_over(s: Rc<Subject>) {
    let us = owner("vm/a");
    for format in s.formats() {
        let name = format!("v-{format}");
        s.make(&name, format, s.size(1), &us).await.unwrap();
        s.storage.remark(&name, Some(&us), &us).await.unwrap();
    }
    s.storage.delete(&format!("v-{}", s.near(Format::Raw)), &us, s.size(1)).await.unwrap();
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}
