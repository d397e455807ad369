//! `reeve get`: lists what is declared and what is there, side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::observe::look;
use super::volumes;
use crate::cli::args::{Format, Get};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;
use crate::engine::kept::Kept;
use crate::engine::picture::{Labels, Picture};
use crate::engine::publish::{Condition, StatusRecord};
use crate::engine::records::AcceptedSet;
use crate::kinds::{KindName, Options, Ref};

/// How often what is told is read again with `--watch`.
const FOLLOW: std::time::Duration = std::time::Duration::from_secs(1);

/// Lists.
pub async fn run(session: &Session, args: &Get) -> Result {
    let what = Selection::parse(&args.what, &args.selector)?;
    let seen = picture(session).await?;
    let found: Vec<Ref> = seen.all().into_iter().filter(|r| what.takes(r, &seen.accepted)).collect();
    if found.is_empty() && !what.exact.is_empty() {
        return Err(CliError::with_help(
            format!("{} is not there", args.what.join(", ")),
            "`reeve get` lists what there is",
        ));
    }
    let kept = if what.all_volumes() { Some(Kept::read(&session.world(), &seen.accepted).await) } else { None };
    let wide = args.output == Format::Wide;
    match (args.output, &kept) {
        (Format::Table | Format::Wide, Some(kept)) => print!("{}", volumes::table(kept, &seen, wide)),
        (Format::Table | Format::Wide, None) => print!("{}", tables(&found, &seen, wide)),
        (Format::Json, kept) => {
            let items: Vec<Value> = found.iter().map(|r| seen.item(r)).collect();
            let mut document = json!({"items": items});
            if let Some(kept) = kept {
                document["volumes"] = json!(kept.rows);
            }
            println!("{}", render::json(&document)?);
        }
        (Format::Yaml, kept) => {
            for reference in &found {
                print!("---\n{}", render::yaml(&seen.item(reference))?);
            }
            if let Some(kept) = kept {
                print!("---\n{}", render::yaml(&json!({"volumes": kept.rows}))?);
            }
        }
    }
    if let Some(kept) = &kept {
        volumes::warn(kept);
    }
    for (kind, why) in seen.live.unreadable.iter().filter(|(k, _)| what.kinds.is_empty() || what.kinds.contains(k)) {
        eprintln!("warning: {kind} could not be read: {why}");
    }
    for suspension in seen.accepted.suspensions.values() {
        eprintln!("warning: {} is {}; nothing new is taken from it", suspension.source, suspension.words());
    }
    if args.watch {
        follow(session, &what, &seen.accepted, seen.told).await?;
    }
    Ok(Exit::Done)
}

/// The node as it is now.
pub async fn picture(session: &Session) -> Result<Picture> {
    let (live, accepted) = look(session).await?;
    let told = session.store_to_read().await?.statuses().await?;
    Ok(Picture::new(accepted, live, told, Options::default()))
}

/// What the agent told of each resource.
pub type Told = BTreeMap<Ref, StatusRecord>;

/// Prints every condition that changes, until it is interrupted.
async fn follow(session: &Session, what: &Selection, accepted: &AcceptedSet, mut told: Told) -> Result<()> {
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(FOLLOW) => {}
        }
        let now: Told = session.store_to_read().await?.statuses().await?.into_iter().collect();
        for (reference, record) in now.iter().filter(|(r, _)| what.takes(r, accepted)) {
            let before = told.get(reference);
            for condition in &record.conditions {
                if before.and_then(|b| b.get(condition.aspect)) != Some(condition) {
                    println!("{}", line(reference, condition));
                }
            }
        }
        for gone in told.keys().filter(|r| !now.contains_key(r) && what.takes(r, accepted)) {
            println!("{gone}: gone");
        }
        told = now;
    }
}

/// One condition as a line.
pub fn line(reference: &Ref, condition: &Condition) -> String {
    let Condition { aspect, status, reason, message, last_transition } = condition;
    let at = last_transition.strftime("%Y-%m-%d %H:%M:%S");
    let why = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("{at}  {reference}  {aspect:?}={status:?}  {reason}{why}")
}

/// What a person asked to see.
pub struct Selection {
    kinds: BTreeSet<KindName>,
    exact: BTreeSet<Ref>,
    labels: Labels,
}

impl Selection {
    /// Reads kinds and resources, and label selectors.
    pub fn parse(what: &[String], selectors: &[String]) -> Result<Self> {
        let labels = Labels::parse(selectors.iter().map(String::as_str));
        let mut all = Self { kinds: BTreeSet::new(), exact: BTreeSet::new(), labels };
        for word in what.iter().flat_map(|w| w.split(',')) {
            if word.contains('/') {
                let reference: Ref = word.parse().map_err(|e: crate::kinds::RefError| CliError::new(e.to_string()))?;
                all.exact.insert(reference);
            } else {
                let kind = KindName::find(word).ok_or_else(|| {
                    CliError::with_help(format!("{word:?} is no kind"), format!("the kinds are {}", KindName::shorts()))
                })?;
                all.kinds.insert(kind);
            }
        }
        Ok(all)
    }

    /// Whether all volumes are asked for and nothing else, so that those without a manifest belong to the answer.
    pub fn all_volumes(&self) -> bool {
        self.kinds.iter().eq([&KindName::Volume]) && self.exact.is_empty() && self.labels.is_empty()
    }

    /// Whether a resource is among what was asked for.
    pub fn takes(&self, reference: &Ref, accepted: &AcceptedSet) -> bool {
        let named = self.kinds.is_empty() && self.exact.is_empty();
        let asked = named || self.kinds.contains(&reference.kind) || self.exact.contains(reference);
        asked && self.labels.fit(reference, accepted)
    }
}

fn tables(found: &[Ref], seen: &Picture, wide: bool) -> String {
    let mut by_kind: BTreeMap<KindName, Vec<&Ref>> = BTreeMap::new();
    for reference in found {
        by_kind.entry(reference.kind).or_default().push(reference);
    }
    if by_kind.is_empty() {
        return "Nothing is there yet. `reeve apply PATH` brings what manifests declare.\n".into();
    }
    let blocks = by_kind.into_iter().map(|(kind, references)| {
        let extra: Vec<&str> =
            kind.columns(None).into_iter().filter(|(_, _, only_wide)| wide || !only_wide).map(|(h, _, _)| h).collect();
        let mut headings = vec!["name", "status"];
        headings.extend(&extra);
        let rows = references.into_iter().map(|r| row(r, seen, wide)).collect();
        headings[0] = kind.as_str();
        render::table::table(&headings, rows)
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn row(reference: &Ref, seen: &Picture, wide: bool) -> Vec<String> {
    let mut row = vec![reference.name.to_string(), seen.state(reference).to_owned()];
    let columns = reference.kind.columns(seen.live.present(reference));
    row.extend(columns.into_iter().filter(|(_, _, only_wide)| wide || !only_wide).map(|(_, value, _)| value));
    row
}
