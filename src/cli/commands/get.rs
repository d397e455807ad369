//! `reeve get`: lists what is declared and what is there, side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::observe::look;
use super::volumes::Kept;
use crate::cli::args::{Format, Get};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::session::Session;
use crate::engine::publish::{Condition, StatusRecord};
use crate::engine::records::AcceptedSet;
use crate::kinds::{KindName, Options, Ref};
use crate::plan::live::{Known, LiveState};
use crate::plan::make::{Goal, make};
use crate::plan::model::{Plan, Readiness};

/// How often what is told is read again with `--watch`.
const FOLLOW: std::time::Duration = std::time::Duration::from_secs(1);

/// Lists.
pub async fn run(session: &Session, args: &Get) -> Result {
    let what = Selection::parse(&args.what, &args.selector)?;
    let (live, accepted) = look(session).await?;
    let found: Vec<Ref> = all(&live, &accepted).into_iter().filter(|r| what.takes(r, &accepted)).collect();
    if found.is_empty() && !what.exact.is_empty() {
        return Err(CliError::with_help(
            format!("{} is not there", args.what.join(", ")),
            "`reeve get` lists what there is",
        ));
    }
    let order = crate::plan::desired::order(&accepted.catalog);
    let goal = Goal { catalog: &accepted.catalog, order: &order, remove: &[], options: Options::default() };
    let plan = make(&goal, &live);
    let told: Told = session.store_to_read().await?.statuses().await?.into_iter().collect();
    let kept = if what.all_volumes() { Some(Kept::read(&session.world(), &accepted).await) } else { None };
    let wide = args.output == Format::Wide;
    match (args.output, &kept) {
        (Format::Table | Format::Wide, Some(kept)) => print!("{}", kept.table(&live, &accepted, &plan, wide)),
        (Format::Table | Format::Wide, None) => {
            print!("{}", tables(&found, &live, &accepted, &plan, wide))
        }
        (Format::Json, kept) => {
            let items: Vec<Value> = found.iter().map(|r| item(r, &live, &accepted, &plan, &told)).collect();
            let mut document = json!({"items": items});
            if let Some(kept) = kept {
                document["volumes"] = json!(kept.rows);
            }
            println!("{}", render::json(&document)?);
        }
        (Format::Yaml, kept) => {
            for reference in &found {
                print!("---\n{}", render::yaml(&item(reference, &live, &accepted, &plan, &told))?);
            }
            if let Some(kept) = kept {
                print!("---\n{}", render::yaml(&json!({"volumes": kept.rows}))?);
            }
        }
    }
    if let Some(kept) = &kept {
        kept.warn();
    }
    for (kind, why) in live.unreadable.iter().filter(|(k, _)| what.kinds.is_empty() || what.kinds.contains(k)) {
        eprintln!("warning: {kind} could not be read: {why}");
    }
    if args.watch {
        follow(session, &what, &accepted, told).await?;
    }
    Ok(Exit::Done)
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
    labels: Vec<(String, Option<String>)>,
}

impl Selection {
    /// Reads kinds and resources, and label selectors.
    pub fn parse(what: &[String], selectors: &[String]) -> Result<Self> {
        let mut all = Self { kinds: BTreeSet::new(), exact: BTreeSet::new(), labels: Vec::new() };
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
        for selector in selectors.iter().flat_map(|s| s.split(',')) {
            all.labels.push(match selector.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (selector.to_owned(), None),
            });
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
        let labels = accepted.catalog.get(reference).map(|r| &r.meta.labels);
        let labelled = self.labels.iter().all(|(key, value)| {
            let has = labels.and_then(|l| l.get(key));
            has.is_some_and(|has| value.as_ref().is_none_or(|v| v == has))
        });
        (named || self.kinds.contains(&reference.kind) || self.exact.contains(reference)) && labelled
    }
}

/// Everything declared, and everything that is there and ours.
fn all(live: &LiveState, accepted: &AcceptedSet) -> BTreeSet<Ref> {
    let declared = accepted.catalog.iter().map(|r| r.reference());
    let seen = live.resources.keys().cloned();
    declared.chain(seen).collect()
}

fn tables(found: &[Ref], live: &LiveState, accepted: &AcceptedSet, plan: &Plan, wide: bool) -> String {
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
        let rows = references.into_iter().map(|r| row(r, live, accepted, plan, wide)).collect();
        headings[0] = kind.as_str();
        render::table::table(&headings, rows)
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn row(reference: &Ref, live: &LiveState, accepted: &AcceptedSet, plan: &Plan, wide: bool) -> Vec<String> {
    let mut row = vec![reference.name.to_string(), status(reference, live, accepted, plan)];
    let columns = reference.kind.columns(live.present(reference));
    row.extend(columns.into_iter().filter(|(_, _, only_wide)| wide || !only_wide).map(|(_, value, _)| value));
    row
}

/// One word on how a resource stands.
pub fn status(reference: &Ref, live: &LiveState, accepted: &AcceptedSet, plan: &Plan) -> String {
    if let Known::Unknown(_) = live.get(reference) {
        return "Unknown".into();
    }
    if accepted.catalog.get(reference).is_none() {
        let ours = live.present(reference).is_some_and(|l| l.have().mark.is_some());
        return if ours { "Undeclared".into() } else { "Unmanaged".into() };
    }
    match plan.steps.iter().find(|s| s.resource == *reference) {
        None => "Ready".into(),
        Some(step) => match &step.readiness {
            Readiness::Blocked(_) => "Blocked".into(),
            Readiness::Pending(_) => "Pending".into(),
            _ if matches!(live.get(reference), Known::Absent) => "Absent".into(),
            _ => "Drifted".into(),
        },
    }
}

/// A resource as a document: its manifest, and its status.
pub fn item(reference: &Ref, live: &LiveState, accepted: &AcceptedSet, plan: &Plan, told: &Told) -> Value {
    let mut document = match accepted.catalog.get(reference) {
        Some(resource) => resource.document(),
        None => {
            json!({"apiVersion": crate::kinds::API_VERSION, "kind": reference.kind.as_str(), "metadata": {"name": reference.name}})
        }
    };
    let mut status = json!({"state": status(reference, live, accepted, plan)});
    if let Some(facts) = live.accepted.get(reference) {
        status["uid"] = json!(facts.uid);
    }
    match live.get(reference) {
        Known::Present(found) => status["live"] = json!(found),
        Known::Unknown(why) => status["unknown"] = json!(why),
        Known::Absent => {}
    }
    if let Some(told) = told.get(reference) {
        status["conditions"] = json!(told.conditions);
    }
    if let Some(step) = plan.steps.iter().find(|s| s.resource == *reference) {
        status["pending"] = json!(step);
    }
    document["status"] = status;
    document
}
