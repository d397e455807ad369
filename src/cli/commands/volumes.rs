//! Volumes as they are on the storages: those of guests, those of Volume resources, and orphans, which can be deleted here.

use std::collections::BTreeSet;

use super::apply::{confirm, who};
use super::by_agent::asked;
use crate::cli::args::Delete;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::render;
use crate::cli::session::Session;
use crate::engine::kept::Kept;
use crate::engine::picture::Picture;
use crate::engine::request::Request;
use crate::kinds::volume::{Ownership, Row};
use crate::kinds::{KindName, Ref};

/// Says which storages could not be listed.
pub fn warn(kept: &Kept) {
    for (storage, fault) in &kept.failed {
        eprintln!("warning: storage/{storage} could not be listed: {fault}");
    }
}

/// Every volume in one table, and at its end the Volume resources that are on no storage.
pub fn table(kept: &Kept, seen: &Picture, wide: bool) -> String {
    let declared: BTreeSet<Ref> = seen.accepted.catalog.of(KindName::Volume).map(|r| r.reference()).collect();
    let mut there = BTreeSet::new();
    let mut rows = Vec::new();
    for row in &kept.rows {
        let resource = row.owner.as_ref().and_then(|owner| owner.parse::<Ref>().ok());
        let resource = resource.filter(|r| declared.contains(r) && row.ownership == Ownership::Managed);
        let state = match &resource {
            Some(resource) => seen.state(resource).to_owned(),
            None => kept.state(row),
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

/// Destroys orphans that were named as `STORAGE/VOLUME`.
pub async fn delete_orphans(session: &Session, args: &Delete) -> Result {
    let ledger = session.store_to_change().await?;
    let accepted = ledger.accepted().await?;
    let world = session.world();
    let live = session.observe(&world, &accepted.catalog).await?.knowing(&accepted.facts);
    let kept = Kept::read(&world, &accepted).await;
    let chosen: Vec<&Row> =
        args.orphan.iter().map(|word| kept.orphan(word, &live)).collect::<std::result::Result<_, _>>()?;
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
    let bars = Bars::new(session.terminal, 0);
    let (accepted, live) = (&accepted, &live);
    let alone = Request { world: &world, ledger: &ledger, accepted, live, who: &who(), progress: &bars };
    let mut failed = false;
    for row in chosen {
        let word = format!("{}/{}", row.storage, row.volume);
        let gone = match session.agent().await {
            Some(agent) => asked(session, agent.destroy_orphan(&row.storage, &row.volume).await?).await,
            None => alone.destroy(row).await,
        };
        match gone {
            Ok(()) => println!("{word}: deleted"),
            Err(fault) => {
                failed = true;
                eprintln!("error: {word}: {fault}");
            }
        }
    }
    Ok(if failed { Exit::Error } else { Exit::Done })
}
