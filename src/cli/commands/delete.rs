//! `reeve delete`: takes resources out of the manifests in force and out of the world; data only when asked.

use super::apply::{confirm, finish};
use super::by_agent::by_agent;
use super::plan::Prepared;
use crate::base::Disruption;
use crate::cli::args::Delete;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::render::plan::Shown;
use crate::cli::session::Session;
use crate::engine::recover::Unfinished;
use crate::kinds::{Options, Ref};
use crate::plan::live::Known;

/// Plans the deletion, asks, and does it.
pub async fn run(session: &Session, args: &Delete) -> Result {
    if !args.orphan.is_empty() {
        return super::volumes::delete_orphans(session, args).await;
    }
    let ledger = session.store_to_change().await?;
    let accepted = ledger.accepted().await?;
    let unfinished = Unfinished::read(&ledger).await?;
    let world = session.world();
    let live = session.observe(&world, &accepted.catalog).await?.knowing(&accepted.facts);
    let missing: Vec<String> = args
        .resources
        .iter()
        .filter(|r| matches!(live.get(r), Known::Absent) && !live.accepted.contains_key(r))
        .map(Ref::to_string)
        .collect();
    if !missing.is_empty() {
        return Err(CliError::with_help(
            format!("{} {} not there", missing.join(", "), if missing.len() == 1 { "is" } else { "are" }),
            "`reeve get` lists what there is",
        ));
    }
    let mut order = crate::plan::desired::order(&accepted.catalog);
    order.retain(|r| args.resources.contains(r));
    order.extend(args.resources.iter().filter(|r| accepted.catalog.get(r).is_none()).cloned());
    let prepared = Prepared {
        catalog: accepted.catalog.clone(),
        order: Vec::new(),
        remove: order,
        live,
        options: Options { allow: Disruption::Restart, destroy_data: args.destroy_data },
        loaded: None,
        accepted,
        unfinished,
        ledger: Some(ledger),
        world: Some(world),
    };
    let plan = prepared.plan();
    print!("{}", render::plan::text(&plan, Shown::Telling, session.paint));
    let question = if args.destroy_data { "Delete these, and DESTROY their data?" } else { "Delete these?" };
    if !args.yes && !confirm(question)? {
        eprintln!("Nothing was changed.");
        return Ok(Exit::Error);
    }
    if let Some(agent) = session.agent().await {
        return by_agent(session, agent, &prepared, &plan, Vec::new()).await;
    }
    let uids = std::collections::BTreeMap::new();
    finish(session, &prepared, &plan, &uids, session.config.parallel).await
}
