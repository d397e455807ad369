//! `reeve describe`: all that is known of one resource, for a person.

use std::collections::BTreeMap;
use std::time::Duration;

use super::get::{line, picture};
use crate::cli::args::One;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::render::plan::{Shown, value};
use crate::cli::session::Session;
use crate::drivers::guest::Target;
use crate::kinds::{Live, Ref};
use crate::plan::live::LiveState;
use crate::plan::overrides::Override;

/// How long a guest's agent is waited for.
const ANSWER: Duration = Duration::from_secs(5);

/// Describes one resource.
pub async fn run(session: &Session, args: &One) -> Result {
    let reference = &args.resource;
    let seen = picture(session).await?;
    if !seen.has(reference) {
        return Err(CliError::with_help(format!("{reference} is not there"), "`reeve get` lists what there is"));
    }
    let mut document = seen.item(reference);
    if let Some(status) = document.get_mut("status").and_then(|s| s.as_object_mut()) {
        status.shift_remove("pending");
        status.shift_remove("conditions");
        status.shift_remove("overrides");
    }
    if let Some(told) = addresses(session, reference, &seen.live).await
        && let Some(status) = document.get_mut("status").and_then(|s| s.as_object_mut())
    {
        status.insert("addresses".to_owned(), serde_json::json!(told));
    }
    print!("{}", render::yaml(&document)?);
    if let Some(facts) = seen.live.accepted.get(reference).filter(|facts| !facts.overrides.is_empty()) {
        println!("\n{}", session.paint.strong("Overrides:"));
        let line = |field: &str, one: &Override| format!("spec.{field} is {} {}", value(&one.value), one.words());
        facts.overrides.iter().for_each(|(field, one)| println!("  {}", line(field, one)));
    }
    if let Some(told) = seen.told.get(reference) {
        println!("\n{}", session.paint.strong("Conditions:"));
        told.conditions.iter().for_each(|condition| println!("  {}", line(reference, condition)));
    }
    let only = seen.plan.only(reference);
    if !only.steps.is_empty() {
        println!(
            "\n{}\n{}",
            session.paint.strong("What would change:"),
            render::plan::text(&only, Shown::Telling, session.paint)
        );
    }
    let events = session.store_to_read().await?.events().await?;
    let name = reference.to_string();
    let mine: Vec<_> = events.iter().rev().filter(|e| e.resource == name).take(10).collect();
    if !mine.is_empty() {
        println!("{}", session.paint.strong("Events:"));
        for event in mine.into_iter().rev() {
            println!("  {}  {}  {} ({})", event.at.strftime("%Y-%m-%d %H:%M:%S"), event.who, event.what, event.why);
        }
    }
    Ok(Exit::Done)
}

/// What a running machine tells of its addresses by MAC; nothing when nobody answers soon.
async fn addresses(session: &Session, reference: &Ref, live: &LiveState) -> Option<BTreeMap<String, Vec<String>>> {
    let Live::VirtualMachine(vm) = live.present(reference)? else { return None };
    if !vm.power.active() {
        return None;
    }
    let world = session.world();
    let owner = vm.mark.as_ref().map(|m| m.uid);
    let target = Target { name: reference.name.as_str(), uuid: vm.uuid, owner };
    match world.vms.agent()?.addresses(&target, ANSWER).await {
        Ok(told) => told,
        Err(fault) => {
            tracing::info!("{fault}");
            None
        }
    }
}
