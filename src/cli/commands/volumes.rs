//! Volumes as they are on the storages: those of guests, those of Volume resources, and orphans, which can be deleted here.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::apply::{confirm, who};
use crate::base::{Fault, FaultKind, Name};
use crate::cli::args::Delete;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;
use crate::engine::observe::observe;
use crate::engine::picture::Picture;
use crate::engine::records::AcceptedSet;
use crate::kinds::volume::{Ownership, Row, survey};
use crate::kinds::{KindName, Ref, Scope, World};
use crate::plan::live::{Known, LiveState};

/// What is kept on this node's storages, at one moment.
pub struct Kept {
    /// The volumes.
    pub rows: Vec<Row>,
    failed: Vec<(Name, Fault)>,
    now: Timestamp,
}

impl Kept {
    /// Lists every storage.
    pub async fn read(world: &World, accepted: &AcceptedSet) -> Self {
        let (rows, failed) = survey(world, &Scope::of(&accepted.catalog)).await;
        Self { rows, failed, now: world.clock.now() }
    }

    /// Says which storages could not be listed.
    pub fn warn(&self) {
        for (storage, fault) in &self.failed {
            eprintln!("warning: storage/{storage} could not be listed: {fault}");
        }
    }

    /// Every volume in one table, and at its end the Volume resources that are on no storage.
    pub fn table(&self, seen: &Picture, wide: bool) -> String {
        let declared: BTreeSet<Ref> = seen.accepted.catalog.of(KindName::Volume).map(|r| r.reference()).collect();
        let mut there = BTreeSet::new();
        let mut rows = Vec::new();
        for row in &self.rows {
            let resource = row.owner.as_ref().and_then(|owner| owner.parse::<Ref>().ok());
            let resource = resource.filter(|r| declared.contains(r) && row.ownership == Ownership::Managed);
            let state = match &resource {
                Some(resource) => seen.state(resource).to_owned(),
                None => self.state(row),
            };
            there.extend(resource);
            rows.push(line(row, state, wide));
        }
        for resource in declared.difference(&there) {
            let mut row = vec![String::new(); if wide { 9 } else { 7 }];
            (row[0], row[1]) = (format!("vol-{}", resource.name), resource.to_string());
            row[6] = seen.state(resource).to_owned();
            rows.push(row);
        }
        if rows.is_empty() {
            return "There is no volume on any storage of this node.\n".into();
        }
        let mut headings = vec!["volume", "owner", "storage", "size", "allocated", "format", "state"];
        headings.extend(if wide { &["content", "problem"][..] } else { &[] });
        render::table::table(&headings, rows)
    }

    /// What a volume is there for, and for how long already nobody needs it.
    fn state(&self, row: &Row) -> String {
        let since = row.since.as_ref().and_then(|since| since.parse::<Timestamp>().ok());
        let age = since.map_or(String::new(), |since| format!(", {}", age(self.now.duration_since(since).as_secs())));
        match row.ownership {
            Ownership::Managed => "Managed".into(),
            Ownership::Detached => format!("Detached{age}"),
            Ownership::Orphan => format!("Orphan{age}"),
            Ownership::Foreign => "Foreign".into(),
        }
    }
}

fn line(row: &Row, state: String, wide: bool) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut line = vec![
        row.volume.clone(),
        text(row.owner.clone()),
        row.storage.to_string(),
        row.size.to_string(),
        text(row.allocated.map(|size| size.to_string())),
        word(&row.format),
        state,
    ];
    if wide {
        line.extend([word(&row.content), text(row.problem.clone())]);
    }
    line
}

/// The word that stands for a value in manifests.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A span in its greatest whole unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m", s / 60),
        s if s < 86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// Destroys orphans that were named as `STORAGE/VOLUME`.
pub async fn delete_orphans(session: &Session, args: &Delete) -> Result {
    let ledger = session.store().await?;
    let accepted = ledger.accepted().await?;
    let world = session.world();
    let live = observe(&world, &accepted.catalog).await.knowing(&accepted.facts);
    let kept = Kept::read(&world, &accepted).await;
    let chosen: Vec<&Row> = args.orphan.iter().map(|word| kept.orphan(word, &live)).collect::<Result<_>>()?;
    if !args.destroy_data {
        return Err(CliError::with_help(
            "deleting an orphan destroys the data on it, and --destroy-data was not given",
            "look at it with `reeve get volumes`, and add --destroy-data when nobody needs it any more",
        ));
    }
    for row in &chosen {
        let owner = row.owner.as_deref().unwrap_or_default();
        println!("  - {}/{} of {owner}, {}: DATA IS LOST", row.storage, row.volume, row.size);
    }
    if !args.yes && !confirm("Delete these, and DESTROY their data?")? {
        eprintln!("Nothing was changed.");
        return Ok(Exit::Error);
    }
    let scope = Scope::of(&accepted.catalog);
    let mut failed = false;
    for row in chosen {
        let (storage, volume) = (&row.storage, &row.volume);
        let Some(mark) = &row.mark else { continue };
        let opened = world.storage(&scope, storage);
        let gone = match opened {
            Ok(opened) => opened.delete(volume, mark, row.size).await,
            Err(fault) => Err(fault),
        };
        let what = match &gone {
            Ok(()) => format!("destroyed the orphan {volume} of {}", mark.resource),
            Err(fault) => format!("failed to destroy the orphan {volume} of {}: {fault}", mark.resource),
        };
        failed |= gone.is_err();
        if let Err(fault) = &gone {
            eprintln!("error: {storage}/{volume}: {fault}");
        } else {
            println!("{storage}/{volume}: deleted");
        }
        let storage = Ref::new(KindName::Storage, storage.clone());
        ledger.event(&storage, &who(), &what, "`reeve delete --orphan`", None).await?;
    }
    Ok(if failed { Exit::Error } else { Exit::Done })
}

impl Kept {
    /// The orphan that `word` names; anything else is refused, and so is one whose guest is still there.
    fn orphan(&self, word: &str, live: &LiveState) -> Result<&Row> {
        let refuse = |why: String, help: &str| Err(CliError::from(Fault::new(FaultKind::Invalid, why).help(help)));
        let look = "`reeve get volumes` lists what there is; write STORAGE/VOLUME";
        let Some((storage, volume)) = word.split_once('/') else {
            return refuse(format!("{word:?} does not name a volume on a storage"), look);
        };
        if let Some((_, fault)) = self.failed.iter().find(|(name, _)| name.as_str() == storage) {
            return refuse(format!("storage/{storage} could not be listed: {fault}"), "mend the storage first");
        }
        let found = self.rows.iter().find(|row| row.storage.as_str() == storage && row.volume == volume);
        let Some(row) = found else { return refuse(format!("{word} is not there"), look) };
        if row.ownership != Ownership::Orphan {
            return refuse(format!("{word} is no orphan: it is {}", self.state(row)), "only orphans are deleted so");
        }
        let owner = row.owner.as_ref().and_then(|owner| owner.parse::<Ref>().ok());
        match owner.filter(|owner| owner.kind != KindName::Volume) {
            Some(owner) if !matches!(live.get(&owner), Known::Absent) => refuse(
                format!("{word} belongs to {owner}, which has no manifest and is there, or cannot be looked for"),
                "delete the guest itself, or bring its manifest back",
            ),
            _ => Ok(row),
        }
    }
}
